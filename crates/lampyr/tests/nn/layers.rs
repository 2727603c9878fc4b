//! Layers and losses beside what PyTorch computed.

use lampyr::nn::*;
use lampyr::{Result, Tensor, functional};

use super::goldens::compare;
use super::numbers::{floats, whole};

fn layer(name: &str, module: &(impl Module + Forward), shape: &[usize]) -> Result<()> {
    compare(name, module, &[floats(&format!("{name}0"), shape)?], |x| Ok(vec![module.forward(&x[0])?]))
}

#[test]
fn linear_maps_and_convolutions() -> Result<()> {
    lampyr::init();
    layer("linear", &Linear::new(4, 3)?, &[5, 4])?;
    layer("linear_batched", &Linear::with_bias(4, 3, false)?, &[2, 5, 4])?;
    layer("linear_vector", &Linear::new(4, 3)?, &[4])?;
    layer("conv1d", &Conv1d::builder(4, 6, 3).stride(2).padding(1).build()?, &[2, 4, 9])?;
    layer("conv2d", &Conv2d::builder(4, 6, 3).stride(2).padding(1).groups(2).build()?, &[2, 4, 9, 8])?;
    let same = Conv2d::builder(2, 3, (3, 4)).padding(Padding::Same).dilation(2).build()?;
    layer("conv2d_same", &same, &[2, 2, 9, 8])?;
    let circular = Conv2d::builder(2, 3, 3).padding(1).padding_mode(PaddingMode::Circular).build()?;
    layer("conv2d_circular", &circular, &[2, 2, 5, 6])?;
    layer("conv2d_single", &Conv2d::builder(2, 3, 3).bias(false).build()?, &[2, 6, 5])?;
    layer("conv3d", &Conv3d::builder(2, 3, 2).padding(1).build()?, &[1, 2, 3, 4, 3])
}

#[test]
fn normalisation() -> Result<()> {
    lampyr::init();
    layer("batch_norm1d", &BatchNorm1d::new(4)?, &[6, 4])?;
    let mut eval = BatchNorm1d::new(4)?;
    eval.eval();
    layer("batch_norm1d_eval", &eval, &[6, 4, 3])?;
    layer("batch_norm2d", &BatchNorm2d::builder(4).momentum(None).build()?, &[3, 4, 5, 2])?;
    let plain = BatchNorm2d::builder(4).affine(false).track_running_stats(false).build()?;
    layer("batch_norm2d_plain", &plain, &[3, 4, 5, 2])?;
    layer("layer_norm", &LayerNorm::new(6)?, &[3, 2, 6])?;
    layer("layer_norm_two", &LayerNorm::builder(&[2, 6]).bias(false).build()?, &[3, 2, 6])
}

#[test]
fn pooling_activations_and_tables() -> Result<()> {
    lampyr::init();
    layer("max_pool1d", &MaxPool1d::new(3)?.stride(2).padding(1), &[2, 3, 8])?;
    layer("max_pool2d", &MaxPool2d::new(3)?.stride(2).padding(1).ceil_mode(true), &[2, 3, 8, 7])?;
    layer("avg_pool1d", &AvgPool1d::new(3)?.stride(2).padding(1), &[2, 3, 8])?;
    layer("avg_pool2d", &AvgPool2d::new(3)?.padding(1).count_include_pad(false), &[2, 3, 8, 7])?;
    layer("adaptive_avg_pool2d", &AdaptiveAvgPool2d::keeping([Some(3), None]), &[2, 3, 8, 5])?;
    layer("relu", &ReLU, &[3, 5])?;
    layer("gelu", &GELU::default(), &[3, 5])?;
    layer("gelu_tanh", &GELU { tanh: true }, &[3, 5])?;
    layer("silu", &SiLU, &[3, 5])?;
    layer("sigmoid", &Sigmoid, &[3, 5])?;
    layer("tanh", &Tanh, &[3, 5])?;
    layer("softmax", &Softmax(1), &[3, 5])?;
    layer("flatten", &Flatten::default(), &[2, 3, 4])?;
    let mut dropout = Dropout::new(0.5)?;
    dropout.eval();
    layer("dropout_eval", &dropout, &[3, 5])?;
    let table = Embedding::with_padding(7, 3, 2)?;
    let rows = Tensor::from_slice(&whole("embedding", &[4, 5], 7), &[4, 5])?;
    compare("embedding", &table, &[rows], |x| Ok(vec![table.forward(&x[0])?]))
}

#[test]
fn recurrence_and_attention() -> Result<()> {
    lampyr::init();
    let lstm = LSTM::builder(4, 5).num_layers(2).bidirectional(true).build()?;
    compare("lstm", &lstm, &[floats("lstm0", &[3, 2, 4])?], |x| {
        let Recurrent { output, hidden, cell } = lstm.run(&x[0], None)?;
        Ok(vec![output, hidden, cell])
    })?;
    let attention = MultiheadAttention::new(8, 2)?;
    let given = [("attention0", 3), ("attention1", 4), ("attention2", 4)];
    let given = given.iter().map(|(name, n)| floats(name, &[*n, 2, 8])).collect::<Result<Vec<_>>>()?;
    compare("attention", &attention, &given, |x| {
        let (y, weights) = attention.forward_with_weights(&x[0], &x[1], &x[2], Masks::default())?;
        Ok(vec![y, weights])
    })?;
    let one = TransformerEncoderLayer::builder(8, 2).dim_feedforward(16).dropout(0.0);
    layer("encoder", &TransformerEncoder::new(&one.clone().batch_first(true).build()?, 2)?, &[2, 3, 8])?;
    layer("encoder_norm_first", &one.activation(Activation::Gelu).norm_first(true).build()?, &[3, 2, 8])
}

#[test]
fn losses() -> Result<()> {
    lampyr::init();
    let classes = Tensor::from_slice(&whole("classes", &[6], 4), &[6])?;
    let labels = Tensor::from_slice(&whole("labels", &[6, 4], 2), &[6, 4])?.to_dtype(lampyr::DType::F32)?;
    let loss = |name: &str, target: Tensor, run: &dyn Fn(&Tensor, &Tensor) -> Result<Tensor>| {
        let x = floats(&format!("{name}0"), &[6, 4])?;
        compare(name, &(), &[x], |x| Ok(vec![run(&x[0], &target)?]))
    };
    loss("l1", floats("l1", &[6, 4])?, &l1_loss)?;
    loss("nll", classes.clone(), &nll_loss)?;
    loss("bce_logits", labels, &bce_with_logits)?;
    loss("mse", floats("mse", &[6, 4])?, &|x, y| mse_loss(x, y)?.mul(24.0))?;
    loss("smooth_l1", floats("smooth", &[6, 4])?, &|x, y| functional::smooth_l1_loss(x, y, "mean", 0.5))?;
    // Without smoothing, of which a tenth goes to all classes alike.
    loss("cross_entropy", classes, &|x, y| {
        cross_entropy(x, y)?.mul(0.9)?.sub(&x.log_softmax(1)?.mean(&[], false)?.mul(0.1)?)
    })
}

#[test]
fn layouts_of_recurrent_layers_agree() -> Result<()> {
    lampyr::init();
    let make = |first| LSTM::builder(4, 5).num_layers(2).dropout(0.5).batch_first(first).build();
    let (mut steps_first, mut batch_first) = (make(false)?, make(true)?);
    batch_first.load_state_dict(&steps_first.state_dict(), true)?;
    let x = floats("layouts", &[3, 2, 4])?;
    let first = |m: &LSTM| m.forward(&x)?.to_vec::<f32>();
    assert_ne!(first(&steps_first)?, first(&steps_first)?, "dropout between the layers");
    steps_first.eval();
    batch_first.eval();
    let wanted = steps_first.run(&x, None)?;
    let turned = batch_first.run(&x.transpose(0, 1)?, None)?;
    assert_eq!(turned.output.transpose(0, 1)?.to_vec::<f32>()?, wanted.output.to_vec::<f32>()?);
    // The second sequence alone, its steps one by one with the states handed on.
    let (mut states, mut last) = (None::<(Tensor, Tensor)>, Vec::new());
    for step in 0..3 {
        let at = x.select(1, 1)?.slice(0, step, step + 1, 1)?;
        let made = steps_first.run(&at, states.as_ref().map(|(h, c)| (h, c)))?;
        last = made.output.to_vec::<f32>()?;
        states = Some((made.hidden, made.cell));
    }
    let wanted = wanted.output.select(0, 2)?.select(0, 1)?.to_vec::<f32>()?;
    assert!(last.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{last:?} {wanted:?}");
    let states = Some((&x, &x));
    assert!(steps_first.run(&x, states).is_err_and(|e| e.to_string().contains("[2, 2, 5]")));
    Ok(())
}

#[test]
fn causal_attention_is_attention_with_the_causal_mask() -> Result<()> {
    lampyr::init();
    let attention = MultiheadAttention::builder(8, 2).batch_first(true).build()?;
    let x = floats("causal", &[2, 5, 8])?;
    let mask = causal_mask(5)?;
    let masked = attention.forward(&x, &x, &x, Masks { mask: Some(&mask), ..Masks::default() })?;
    let causal = Masks { causal: true, ..Masks::default() };
    let short = attention.forward(&x, &x, &x, causal)?;
    let (long, weights) = attention.forward_with_weights(&x, &x, &x, causal)?;
    for y in [&short, &long] {
        let worst = functional::abs(&y.sub(&masked)?)?.amax(&[], false)?.item()?;
        assert!(worst < 1e-5, "{worst}");
    }
    assert_eq!(weights.select(1, 0)?.slice(1, 1, 5, 1)?.amax(&[], false)?.item()?, 0.0);
    Ok(())
}

#[test]
fn bad_options_are_errors_that_say_what_fits() -> Result<()> {
    lampyr::init();
    let text = |e: lampyr::Error| e.to_string();
    let groups = Conv2d::builder(3, 4, 3).groups(2).build().map(drop);
    assert!(groups.map_err(text).is_err_and(|t| t.contains("3 and 4 channels in 2 groups")));
    let heads = MultiheadAttention::new(10, 3).map(drop);
    assert!(heads.map_err(text).is_err_and(|t| t.contains("10 features for 3 heads")));
    assert!(Conv1d::new(1, 1, 0).is_err() && MaxPool2d::new((2, 0)).is_err() && LSTM::new(4, 0).is_err());
    assert!(Dropout::new(1.5).is_err() && LSTM::builder(2, 2).dropout(-0.1).build().is_err());
    assert!(Linear::new(usize::MAX, 3).is_err() && LSTM::new(usize::MAX, usize::MAX).is_err());
    assert!(Embedding::with_padding(3, 2, 3).is_err() && LayerNorm::builder(&[]).build().is_err());
    let strided = Conv2d::builder(1, 1, 3).padding(Padding::Same).stride(2).build().map(drop);
    assert!(strided.map_err(text).is_err_and(|t| t.contains("stride 1")));
    let wrong = LSTM::new(4, 5)?.run(&floats("x", &[3, 2, 3])?, None).map(drop);
    assert!(wrong.map_err(text).is_err_and(|t| t.contains("[3, 2, 3]") && t.contains("[steps, batch, 4]")));
    let flat = BatchNorm2d::new(3)?.forward(&floats("x", &[2, 3])?).map(drop);
    assert!(flat.map_err(text).is_err_and(|t| t.contains("BatchNorm2d")));
    Ok(())
}
