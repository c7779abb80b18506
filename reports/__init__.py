"""Floor 2: the document and every renderer. A renderer knows a document and nothing else."""
