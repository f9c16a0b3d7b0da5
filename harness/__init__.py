"""cpt-harness: what does a multimodal LLM forget when it is post-trained on task after task?"""

__version__ = "0.1.0"
