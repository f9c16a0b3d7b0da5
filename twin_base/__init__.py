"""The twin base: a tiny Qwen2.5-VL made from scratch. ``python -m twin_base.pretrain`` makes it again."""
