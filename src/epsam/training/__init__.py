"""What is trained with the engine: the classifier, and the mask decoder in its rounds."""
