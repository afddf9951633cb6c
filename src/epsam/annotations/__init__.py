"""What people draw on slides and what we trace from masks: polygons, ASAP XML, GeoJSON."""
