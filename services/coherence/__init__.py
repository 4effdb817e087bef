"""The coherence service: does a response stay with its prompt, its own thread, its persona, and not repeat itself?"""
