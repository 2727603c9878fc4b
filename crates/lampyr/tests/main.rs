//! Tests of the user crate.

mod nn;

use std::path::Path;
use std::thread;

use lampyr::functional::{Index, index, set_index};
use lampyr::{DType, Error, ErrorKind, Graph, Model, Result, Runtime, Tensor};

fn digits() -> Result<Model> {
    Model::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/digits/digits.onnx"))
}

fn sample(model: &Model, batch: usize, value: f64) -> Result<Tensor> {
    let dims = model.inputs()[0].dims().iter().map(|d| d.known().map_or(batch, |n| n as usize)).collect::<Vec<_>>();
    Tensor::full(&dims, value, model.inputs()[0].dtype(), lampyr::Device::CPU)
}

#[test]
fn a_model_runs_by_position_and_by_name() -> Result<()> {
    let model = digits()?;
    let x = sample(&model, 2, 0.5)?;
    let by_position = model.run(std::slice::from_ref(&x))?;
    let by_name = model.run_named(&[(&model.inputs()[0].name, x)])?;
    assert_eq!(by_position[0].to_vec::<f32>()?, by_name[0].to_vec::<f32>()?);
    assert_eq!(by_position.len(), model.outputs().len());
    Ok(())
}

#[test]
fn reports_agree_with_the_plan() -> Result<()> {
    let model = digits()?;
    model.run(&[sample(&model, 3, 1.0)?])?;
    let memory = model.memory(None)?;
    let told = model.explain(None)?;
    assert!(memory.lower_bound_bytes <= memory.arena_bytes && memory.arena_bytes <= memory.unplanned_bytes);
    assert_eq!(told.plan.arena_bytes, memory.arena_bytes);
    assert!(told.to_json().starts_with("{\"compile\":{"));
    assert!(told.to_html().contains("<svg") && told.to_string().contains("arena"));
    Ok(())
}

#[test]
fn one_model_serves_many_threads() -> Result<()> {
    let model = digits()?;
    let expected = (0..4)
        .map(|k| model.run(&[sample(&model, 1, f64::from(k))?])?[0].to_vec::<f32>())
        .collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        for k in 0..8 {
            let (model, expected) = (&model, &expected);
            scope.spawn(move || {
                let x = sample(model, 1, f64::from(k % 4)).unwrap();
                for _ in 0..20 {
                    let y = model.run(std::slice::from_ref(&x)).unwrap();
                    assert_eq!(y[0].to_vec::<f32>().unwrap(), expected[k as usize % 4]);
                }
            });
        }
    });
    Ok(())
}

#[test]
fn wrong_inputs_are_named() -> Result<()> {
    let model = digits()?;
    let name = model.inputs()[0].name.clone();
    let missing = model.run_named(&[]).unwrap_err();
    assert!(missing.kind() == &ErrorKind::NotFound && missing.to_string().contains(&name));
    let wide = sample(&model, 1, 0.0)?.to_dtype(DType::F64)?;
    let wrong = model.run(&[wide]).unwrap_err();
    assert!(wrong.kind() == &ErrorKind::DType && wrong.to_string().contains(&name));
    assert_eq!(Model::from_bytes(b"nothing").unwrap_err().kind(), &ErrorKind::Format);
    assert_eq!(Model::load("no/such/file.onnx").unwrap_err().kind(), &ErrorKind::Io);
    Ok(())
}

#[test]
fn optimised_and_plain_graphs_agree() -> Result<()> {
    let rt = Runtime::new()?;
    let build = |optimize: bool| -> Result<Vec<f32>> {
        let mut graph = Graph::new();
        let x = graph.add_input("x", &[2, 3])?;
        let w = graph.add_weight_data("w", &Tensor::from_slice(&[1f32, -2.0, 3.0], &[3])?)?;
        let sum = graph.add_op("add", &[x.clone(), w])?;
        let y = graph.add_op("relu", std::slice::from_ref(&sum))?;
        graph.mark_output(y)?;
        graph.add_op("mul", &[sum, x])?;
        if optimize {
            graph.optimize()?;
        }
        let x = Tensor::from_slice(&[0f32, 1.0, 2.0, 3.0, 4.0, 5.0], &[2, 3])?;
        graph.compile(&rt)?.execute(&[x])?[0].to_vec()
    };
    assert_eq!(build(true)?, build(false)?);
    assert_eq!(build(true)?, [1.0, 0.0, 5.0, 4.0, 2.0, 8.0]);
    Ok(())
}

#[test]
fn graphs_refuse_what_does_not_fit() -> Result<()> {
    let mut graph = Graph::new();
    let x = graph.add_input("x", &[2, 3])?;
    let kind = |e: Error| e.kind().clone();
    assert_eq!(kind(graph.add_input("x", &[1]).unwrap_err()), ErrorKind::Value);
    assert_eq!(kind(graph.add_op("matmul", &[x.clone(), x.clone()]).unwrap_err()), ErrorKind::Shape);
    assert_eq!(kind(graph.add_op("nothing", &[x]).unwrap_err()), ErrorKind::NotFound);
    assert_eq!(kind(graph.compile(&Runtime::new()?).unwrap_err()), ErrorKind::Graph);
    Ok(())
}

#[test]
fn indexing_reads_and_writes() -> Result<()> {
    lampyr::init();
    let values: Vec<f32> = (0..24u8).map(f32::from).collect();
    let x = Tensor::from_slice(&values, &[2, 3, 4])?;
    let picks = Tensor::from_slice(&[2i64, 0], &[2])?;
    let part = index(&x, &[Index::At(-1), Index::Tensor(picks), Index::Slice(None, None, 2)])?;
    assert_eq!(part.to_vec::<f32>()?, [20.0, 22.0, 12.0, 14.0]);
    set_index(&x, &[Index::Ellipsis, Index::At(0)], (-1.0).into())?;
    let first = index(&x, &[Index::At(0), Index::Slice(Some(0), Some(2), 1)])?;
    assert_eq!(first.to_vec::<f32>()?, [-1.0, 1.0, 2.0, 3.0, -1.0, 5.0, 6.0, 7.0]);
    assert_eq!(index(&x, &[Index::At(2)]).unwrap_err().kind(), &ErrorKind::Index);
    Ok(())
}
