"""Made-up images: H&E-like tissue for the demo's slides, plain shapes for pre-training its SAM."""
