"""The default predictor: a Gaussian process over embeddings and clusters that follows drifting success probabilities.

features          the kernel as a product of finite features (Nyström)
filter            the Kalman filter that follows what neighbouring prompts share
fit               hyper-parameters by marginal likelihood
panel             the prompts whose outcomes are all kept, to fit from
predictor         the predictor itself
"""
