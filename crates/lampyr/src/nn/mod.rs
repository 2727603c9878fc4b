//! Modules: layers with PyTorch's names, defaults, initial values and state dicts.
//!
//! A model is a struct of layers with `#[derive(Module)]` and a function of its own that computes; see [`Module`].
//! Layers from one tensor to one have [`Forward::forward`]. What is computed without parameters is in
//! [`crate::functional`]; parameters are trained by [`crate::optim`].

mod activation;
mod attention;
mod clip;
mod conv;
mod embedding;
mod forward;
pub mod init;
mod linear;
mod loss;
mod make;
mod module;
mod norm;
mod part;
mod pooling;
mod rnn;
mod state;
mod transformer;

pub use activation::{Dropout, Flatten, GELU, Identity, ReLU, SiLU, Sigmoid, Softmax, Tanh};
pub use attention::{Masks, MultiheadAttention, MultiheadAttentionBuilder, causal_mask};
pub use clip::clip_grad_norm_;
pub use conv::{Conv, Conv1d, Conv2d, Conv3d, ConvBuilder, Padding, PaddingMode};
pub use embedding::Embedding;
pub use forward::{Forward, Layer, Sequential};
pub use lampyr_derive::Module;
pub use linear::Linear;
pub use loss::{bce_with_logits, cross_entropy, l1_loss, mse_loss, nll_loss, smooth_l1_loss};
pub use make::Sizes;
pub use module::{Module, Path};
pub use norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNormBuilder, LayerNorm, LayerNormBuilder};
pub use part::{Buffer, Parameter, Part, PartMut, Training};
pub use pooling::{AdaptiveAvgPool, AdaptiveAvgPool2d, AvgPool, AvgPool1d, AvgPool2d, MaxPool, MaxPool1d, MaxPool2d};
pub use rnn::{LSTM, LSTMBuilder, Recurrent};
pub use state::{Incompatible, StateDict};
pub use transformer::{Activation, TransformerEncoder, TransformerEncoderLayer, TransformerEncoderLayerBuilder};
