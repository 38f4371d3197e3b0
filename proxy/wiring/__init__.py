"""From settings to rooms: what the composition root puts together, one subject a module.

Purpose: `proxy.app` says which rooms there are and in which order they live and die; here stands
what each of them is made of. Every function takes values and gives a made thing; none starts
anything. The settings of `proxy.config` are translated here and nowhere else.
"""
