"""The vendors in a box: real HTTP servers on loopback that behave as each vendor's API is described.

They are the counterpart of syncd and share no code with it, so what they say they served is a second opinion.
"""
