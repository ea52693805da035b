"""Networks and the models made of them: in torch to train, as ONNX graphs to answer.

encoder.py        photos to features by onnxruntime
torch_encoder.py  the same by torch, for CUDA
inputs.py         pixels as a network takes them, in torch
backbone.py       any timm network with weights, as features
timm_networks.py  timm's networks by name
parts.py          its maps, norms, cost, and its head
weights.py        weights files, read without risk
hub.py            where pretrained weights are downloaded from
graph.py          a network as shared-weight ONNX
devices.py        where to train, which precision
film.py           norm layers, set encoder, generator
generator.py      FiLM values from a task vector
folding.py        a folder's FiLM values, folded in
passes.py         what a model makes of photos
strangers.py      what a network makes of strange things
model.py          network, FiLM, head: one learner
model_folder.py   a model written, read, fetched
model_heads.py    heads that come with a model
"""
