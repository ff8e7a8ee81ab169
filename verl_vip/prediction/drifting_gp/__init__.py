"""The default predictor: a Gaussian process over embeddings and clusters that follows drifting success probabilities.

kernel            the kernel of two prompts' embeddings
clusters          clusters of prompts at several scales, a part of the kernel
features          finite features that approximate the kernel (Nyström)
filter            the Kalman filter of the features' weights
fit               hyper-parameters by marginal likelihood
panel             the prompts whose outcomes are kept for the fit
variance_ratio    the variance of partial rewards
predictor         the predictor itself
"""
