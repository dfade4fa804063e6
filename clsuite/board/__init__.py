"""The leaderboard: published records and everything made from them. Nothing here needs torch.

`build` is a pure function of the published records and the reported figures; `model` is what it gives.
"""
