"""The coherence service: does a response stay with its prompt, its own thread and its persona, and how does it read?"""
