//! What all modules can do: names, state dicts, types, copies.

use lampyr::nn::*;
use lampyr::{DType, ErrorKind, Result, Tensor};

#[derive(Module)]
struct Block<A> {
    norm: Option<LayerNorm>,
    act: A,
    #[module(name = "lin")]
    linear: Linear,
    width: usize,
    #[module(skip)]
    note: Tensor,
}

#[derive(Module)]
struct Pair(Linear, [Linear; 1]);

#[derive(Module)]
struct Model {
    blocks: Vec<Block<GELU>>,
    r#type: Box<Pair>,
    both: (Linear, Option<Linear>),
    chain: Sequential,
    scale: Parameter,
    mask: Buffer,
    order: Buffer,
    training: Training,
}

fn model() -> Result<Model> {
    lampyr::init();
    let ones = Tensor::from_slice(&[1.0f32, 1.0], &[2])?;
    let block = |norm: Option<LayerNorm>| -> Result<Block<GELU>> {
        Ok(Block { norm, act: GELU::default(), linear: Linear::new(2, 2)?, width: 2, note: ones.clone() })
    };
    Ok(Model {
        blocks: vec![block(Some(LayerNorm::new(2)?))?, block(None)?],
        r#type: Box::new(Pair(Linear::with_bias(2, 2, false)?, [Linear::with_bias(2, 2, false)?])),
        both: (Linear::with_bias(2, 2, false)?, None),
        chain: Sequential::new().push(ReLU).push(Linear::new(2, 3)?).push(Dropout::new(0.5)?),
        scale: Parameter::new(&ones)?,
        mask: Buffer::new(ones.clone()),
        order: Buffer::temporary(Tensor::from_slice(&[0i64, 1], &[2])?),
        training: Training::default(),
    })
}

#[test]
fn names_are_those_of_the_fields() -> Result<()> {
    let model = model()?;
    let parameters = [
        "blocks.0.norm.weight",
        "blocks.0.norm.bias",
        "blocks.0.lin.weight",
        "blocks.0.lin.bias",
        "blocks.1.lin.weight",
        "blocks.1.lin.bias",
        "type.0.weight",
        "type.1.0.weight",
        "both.0.weight",
        "chain.1.weight",
        "chain.1.bias",
        "scale",
    ];
    let names: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, parameters);
    let buffers: Vec<String> = model.named_buffers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(buffers, ["mask", "order"]);
    let keys: Vec<String> = model.state_dict().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(keys, [&parameters.map(String::from)[..], &["mask".to_string()]].concat());
    assert_eq!(model.num_parameters(), 4 + 2 * 6 + 3 * 4 + 9 + 2);
    assert_eq!(model.blocks[0].width + model.blocks[0].note.len(), 4);
    Ok(())
}

#[test]
fn the_mode_reaches_every_layer() -> Result<()> {
    let mut model = model()?;
    let x = Tensor::from_slice(&[1.0f32; 64], &[32, 2])?;
    let spread = |model: &Model| -> Result<bool> {
        let y = model.chain.forward(&x)?;
        Ok(y.to_vec::<f32>()?.contains(&0.0))
    };
    assert!(model.training.is_on() && spread(&model)?);
    model.eval();
    assert!(!model.training.is_on() && !spread(&model)?);
    model.train(true);
    assert!(model.training.is_on() && spread(&model)?);
    Ok(())
}

#[test]
fn a_state_goes_through_a_file() -> Result<()> {
    let (first, second) = (model()?, model()?);
    let path = std::env::temp_dir().join(format!("lampyr-state-{}.npz", std::process::id()));
    first.state_dict().save(&path)?;
    let read = StateDict::read(&path);
    std::fs::remove_file(&path).expect("the file is there");
    let found = second.load_state_dict(&read?, true)?;
    assert_eq!(found, Incompatible::default());
    for ((name, a), (_, b)) in first.state_dict().iter().zip(&second.state_dict()) {
        assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?, "{name}");
    }
    assert!(second.parameters().iter().all(Tensor::requires_grad));
    Ok(())
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() -> Result<()> {
    let layer = Sequential::new().push(Linear::new(3, 2)?).push(Linear::new(2, 1)?);
    let before = layer.parameters()[0].to_vec::<f32>()?;
    let zeros = |shape: &[usize]| Tensor::full(shape, 0.0, DType::F32, lampyr::Device::CPU);
    let mut state = StateDict::default();
    state.insert("0.weight", zeros(&[2, 3])?);
    state.insert("0.bias", zeros(&[3])?);
    state.insert("1.weight", zeros(&[1, 2])?);
    state.insert("2.weight", zeros(&[1])?);
    let error = layer.load_state_dict(&state, true).expect_err("it does not fit");
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    for part in ["missing: 1.bias", "unexpected: 2.weight", "0.bias: [2] in the module, [3] given"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let error = layer.load_state_dict(&state, false).expect_err("a shape differs");
    assert_eq!(*error.kind(), ErrorKind::Shape);
    assert_eq!(layer.parameters()[0].to_vec::<f32>()?, before);
    state.insert("0.bias", zeros(&[2])?);
    let found = layer.load_state_dict(&state, false)?;
    assert_eq!((found.missing, found.unexpected), (vec!["1.bias".to_string()], vec!["2.weight".to_string()]));
    assert_eq!(layer.parameters()[0].to_vec::<f32>()?, [0.0; 6]);
    Ok(())
}

#[test]
fn shared_parameters_stay_shared() -> Result<()> {
    #[derive(Clone, Module)]
    struct Tied {
        table: Embedding,
        head: Linear,
    }
    lampyr::init();
    let mut tied = Tied { table: Embedding::new(5, 3)?, head: Linear::with_bias(3, 5, false)? };
    tied.head.weight = tied.table.weight.clone();
    assert_eq!((tied.parameters().len(), tied.state_dict().len()), (1, 2));
    let copy = tied.deep_copy()?;
    assert!(copy.table.weight.same(&copy.head.weight) && !copy.table.weight.same(&tied.table.weight));
    assert!(copy.table.weight.requires_grad());
    tied.to_dtype(DType::F64)?;
    assert!(tied.table.weight.same(&tied.head.weight) && tied.table.weight.requires_grad());
    assert_eq!((tied.table.weight.dtype(), copy.table.weight.dtype()), (DType::F64, DType::F32));
    assert!(tied.to_dtype(DType::I64).is_err_and(|e| *e.kind() == ErrorKind::DType));
    Ok(())
}

#[test]
fn initial_values_follow_the_seed() -> Result<()> {
    lampyr::init();
    // Those of Python's layer: python/tests/test_nn_module.py.
    let wanted = [-0.081_013_2, 0.246_279_78, -0.119_971_04, 0.134_4];
    let made = || -> Result<Vec<f32>> {
        lampyr::random::manual_seed(3);
        Linear::new(4, 3)?.weight.to_vec::<f32>()
    };
    let near = |values: &[f32]| values.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6);
    // Other tests draw from the same generator meanwhile.
    assert!((0..50).any(|_| made().is_ok_and(|values| near(&values))));
    let weight = Linear::new(300, 50)?.weight.to_vec::<f32>()?;
    let (least, most) = weight.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
    let bound = (1.0 / 300f32.sqrt()) * 1.000_001;
    assert!(least >= -bound && most <= bound && most > 0.99 * bound, "{least} to {most}");
    let mean = weight.iter().sum::<f32>() / weight.len() as f32;
    assert!(mean.abs() < 0.002, "{mean}");
    Ok(())
}
