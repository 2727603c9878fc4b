use std::any::Any;
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lampyr_backend::{Arg, DeviceMemory, Kernel, Launch};
use lampyr_base::alloc::{AllocError, MemoryStats};
use lampyr_base::{DType, Device, Error, Layout, Result};
use lampyr_ir::OpRef;

use super::memory::LoopbackMemory;
use super::{LOOPBACK, kernel};

/// An operand that a queued command keeps alive.
#[derive(Debug)]
pub struct OwnedArg {
    pub memory: Arc<LoopbackMemory>,
    pub base: usize,
    pub dtype: DType,
    pub layout: Layout,
}

pub enum Command {
    Allocate { id: u64, len: usize },
    Free { id: u64 },
    Upload { to: Arc<LoopbackMemory>, offset: usize, bytes: Vec<u8> },
    Download { from: Arc<LoopbackMemory>, offset: usize, len: usize, reply: Sender<Result<Vec<u8>>> },
    Copy { from: OwnedArg, to: OwnedArg },
    Launch { kernel: &'static dyn Kernel, op: OpRef, inputs: Vec<OwnedArg>, outputs: Vec<Option<OwnedArg>> },
    Synchronize { reply: Sender<Result<()>> },
}

/// The host's end of the queue.
#[derive(Debug)]
pub struct Queue {
    sender: Mutex<Sender<Command>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    stats: MemoryStats,
}

fn gone<T>(_: T) -> Error {
    Error::device("the loopback queue has ended")
}

impl Queue {
    pub fn start() -> Queue {
        let (sender, receiver) = channel();
        std::thread::Builder::new().name("loopback".to_string()).spawn(move || serve(&receiver)).ok();
        Queue { sender: Mutex::new(sender), state: Mutex::new(State::default()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn send(&self, command: Command) -> Result<()> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).send(command).map_err(gone)
    }

    pub fn reserve(&self, len: usize) -> Result<u64> {
        let mut state = self.state();
        let active = state.stats.active_bytes;
        if let Some(limit) = state.stats.limit_bytes
            && active + len > limit
        {
            return Err(AllocError { requested: len, active, limit: Some(limit) }.into());
        }
        state.next += 1;
        state.stats.active_bytes += len;
        state.stats.peak_bytes = state.stats.peak_bytes.max(state.stats.active_bytes);
        state.stats.allocations += 1;
        Ok(state.next)
    }

    pub fn release(&self, id: u64, len: usize) {
        self.state().stats.active_bytes -= len;
        // A queue that has ended holds no memory any more.
        self.send(Command::Free { id }).ok();
    }

    pub fn stats(&self) -> MemoryStats {
        self.state().stats
    }

    pub fn set_limit(&self, limit: Option<usize>) {
        self.state().stats.limit_bytes = limit;
    }

    pub fn download(&self, from: Arc<LoopbackMemory>, offset: usize, len: usize) -> Result<Vec<u8>> {
        let (reply, answer) = channel();
        self.send(Command::Download { from, offset, len, reply })?;
        answer.recv().map_err(gone)?
    }

    pub fn synchronize(&self) -> Result<()> {
        let (reply, answer) = channel();
        self.send(Command::Synchronize { reply })?;
        answer.recv().map_err(gone)?
    }
}

type Heap = HashMap<u64, Vec<u128>>;

/// Memory as the device itself sees it; never leaves the queue's thread.
#[derive(Debug)]
struct Inside {
    ptr: usize,
    len: usize,
}

impl DeviceMemory for Inside {
    fn device(&self) -> Device {
        LOOPBACK
    }
    fn len(&self) -> usize {
        self.len
    }
    fn host_ptr(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.ptr as *mut u8)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn inside(heap: &mut Heap, memory: &LoopbackMemory) -> Result<Arc<dyn DeviceMemory>> {
    let words = heap.get_mut(&memory.id()).ok_or_else(|| Error::device("memory was used after it was freed"))?;
    Ok(Arc::new(Inside { ptr: words.as_mut_ptr() as usize, len: memory.len() }))
}

fn bytes(words: &mut Vec<u128>) -> &mut [u8] {
    // SAFETY: the words are initialised, u8 has no validity or alignment demands, and the borrow of the vector makes the
    // access unique.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 16) }
}

fn serve(receiver: &Receiver<Command>) {
    let mut heap = Heap::new();
    let mut failure: Option<Error> = None;
    while let Ok(command) = receiver.recv() {
        match command {
            Command::Synchronize { reply } => {
                reply.send(failure.take().map_or(Ok(()), Err)).ok();
            }
            Command::Download { from, offset, len, reply } => {
                let result = match failure.take() {
                    Some(e) => Err(e),
                    None => match heap.get_mut(&from.id()) {
                        Some(words) => Ok(bytes(words)[offset..offset + len].to_vec()),
                        None => Err(Error::device("memory was used after it was freed")),
                    },
                };
                reply.send(result).ok();
            }
            other => {
                if let Err(e) = execute(&mut heap, other) {
                    failure.get_or_insert(e);
                }
            }
        }
    }
}

fn execute(heap: &mut Heap, command: Command) -> Result<()> {
    match command {
        Command::Allocate { id, len } => {
            // Poison: a kernel that reads what it never wrote shows.
            heap.insert(id, vec![u128::MAX / 3; len.div_ceil(16)]);
            Ok(())
        }
        Command::Free { id } => {
            heap.remove(&id);
            Ok(())
        }
        Command::Upload { to, offset, bytes: from } => {
            let words = heap.get_mut(&to.id()).ok_or_else(|| Error::device("memory was used after it was freed"))?;
            bytes(words)[offset..offset + from.len()].copy_from_slice(&from);
            Ok(())
        }
        Command::Copy { from, to } => {
            let (a, b) = (inside(heap, &from.memory)?, inside(heap, &to.memory)?);
            let source = Arg::new(&a, from.base, from.dtype, &from.layout);
            let target = Arg::new(&b, to.base, to.dtype, &to.layout);
            let host = kernel::read(&source)?;
            kernel::write(&target, &host)
        }
        Command::Launch { kernel, op, inputs, outputs } => {
            let ins = inputs.iter().map(|a| inside(heap, &a.memory)).collect::<Result<Vec<_>>>()?;
            let outs = outputs
                .iter()
                .map(|o| o.as_ref().map(|a| inside(heap, &a.memory)).transpose())
                .collect::<Result<Vec<_>>>()?;
            let in_args: Vec<Arg> =
                inputs.iter().zip(&ins).map(|(a, m)| Arg::new(m, a.base, a.dtype, &a.layout)).collect();
            let out_args: Vec<Option<Arg>> = outputs
                .iter()
                .zip(&outs)
                .map(|(a, m)| Some(Arg::new(m.as_ref()?, a.as_ref()?.base, a.as_ref()?.dtype, &a.as_ref()?.layout)))
                .collect();
            kernel.launch(&Launch {
                op: &*op,
                inputs: &in_args,
                outputs: &out_args,
                workspace: None,
                packed: &[],
                backend: &*super::loopback(),
            })
        }
        Command::Download { .. } | Command::Synchronize { .. } => Ok(()),
    }
}
