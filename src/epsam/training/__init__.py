"""What is fitted with the engine: the classifier, the mask decoder and its rounds."""
