"""Multiple-instance learning: networks whose pixels have a probability each, and that learn from
the label of the whole patch (paper Table 2: DWS-MIL, SA-MIL, Swin-MIL).

A patch is a bag, and its pixels are the instances. An encoder (`encoders`) has three stages, each
with a side output (`side_outputs`): a map of tumour probabilities. Their weighted sum is the fused
map. The generalised mean (`generalised_mean`) turns a map into the probability of the patch, on
which the loss (`loss`) is taken. SA-MIL's stages have criss-cross attention (`criss_cross`).
"""
