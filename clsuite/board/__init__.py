"""The leaderboard: published records and everything that is made from them. Nothing here needs torch.

`build` is a pure function of the published records and the reported figures; its result is a `model.Board`.
"""
