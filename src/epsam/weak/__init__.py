"""The weak model: a classifier that learns from patch labels (Enhanced-ADL ResNet, paper 3.2.1)."""
