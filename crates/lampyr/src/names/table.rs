//! The table: every public name with the functions behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use lampyr_base::Result;
use lampyr_runtime::Tensor;

use super::call::Call;
use super::signature::{Kind, Role, Signature};
use super::value::Output;

/// Where a name is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// `lampyr.NAME`
    Top,
    /// `Tensor.NAME`
    Method,
    /// `lampyr.nn.functional.NAME`
    Functional,
    /// `lampyr.linalg.NAME`
    Linalg,
    /// `lampyr.fft.NAME`
    Fft,
    /// `lampyr.special.NAME`
    Special,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 6] =
        [Space::Top, Space::Method, Space::Functional, Space::Linalg, Space::Fft, Space::Special];

    /// What names of this space start with in Python.
    pub fn prefix(self) -> &'static str {
        match self {
            Space::Top => "lampyr",
            Space::Method => "lampyr.Tensor",
            Space::Functional => "lampyr.nn.functional",
            Space::Linalg => "lampyr.linalg",
            Space::Fft => "lampyr.fft",
            Space::Special => "lampyr.special",
        }
    }

    fn plain(self) -> u16 {
        match self {
            Space::Top => TOP,
            Space::Method => METHOD,
            Space::Functional => FUNCTIONAL,
            Space::Linalg => LINALG,
            Space::Fft => FFT,
            Space::Special => SPECIAL,
        }
    }

    /// The bit of the in-place form `NAME_`, where there is one.
    fn inplace(self) -> u16 {
        match self {
            Space::Top => TOP_INPLACE,
            Space::Method => INPLACE,
            Space::Functional => FUNCTIONAL_INPLACE,
            _ => 0,
        }
    }
}

/// `lampyr.NAME`
pub const TOP: u16 = 1;
/// `Tensor.NAME`
pub const METHOD: u16 = 1 << 1;
/// `Tensor.NAME_`, in place.
pub const INPLACE: u16 = 1 << 2;
/// `lampyr.nn.functional.NAME`
pub const FUNCTIONAL: u16 = 1 << 3;
/// `lampyr.nn.functional.NAME_`, in place.
pub const FUNCTIONAL_INPLACE: u16 = 1 << 4;
/// `lampyr.NAME_`, in place.
pub const TOP_INPLACE: u16 = 1 << 5;
/// `lampyr.linalg.NAME`
pub const LINALG: u16 = 1 << 6;
/// `lampyr.fft.NAME`
pub const FFT: u16 = 1 << 7;
/// `lampyr.special.NAME`
pub const SPECIAL: u16 = 1 << 8;

/// With `INPLACE`: `Tensor.NAME_` changes what the tensor is (sizes, steps, memory), not its elements.
pub const RENEW: u16 = 1 << 9;

/// The function of an entry.
pub type Run = fn(&Call) -> Result<Output>;

/// The function of an entry for a tensor and whole numbers; `None` where it takes other arguments or as many.
pub type Short = fn(&Tensor, &[i64]) -> Option<Result<Tensor>>;

/// One line of the table. Lines of one name and place are its forms, tried in order.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name, parameters and result, as `Signature` reads them.
    pub signature: &'static str,
    /// Where the name is found: `TOP`, `METHOD`, ...
    pub spaces: u16,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Simple operations per element, roughly; long calls let other threads of the host language run.
    pub cost: f32,
    /// Other names of the same.
    pub also: &'static [&'static str],
    /// The function.
    pub run: Run,
    /// The function for a call with nothing but whole numbers.
    pub short: Option<Short>,
}

/// A line of the table.
pub const fn name(signature: &'static str, spaces: u16, doc: &'static str, run: Run) -> Entry {
    Entry { signature, spaces, doc, cost: 4.0, also: &[], run, short: None }
}

impl Entry {
    /// With other names of the same.
    pub const fn also(mut self, names: &'static [&'static str]) -> Entry {
        self.also = names;
        self
    }

    /// With a function for calls of the method with whole numbers only, which are not bound to parameters then.
    pub const fn short(mut self, function: Short) -> Entry {
        self.short = Some(function);
        self
    }

    /// With about so many simple operations per element.
    pub const fn cost(mut self, operations: f32) -> Entry {
        self.cost = operations;
        self
    }
}

/// One way to call a name.
#[derive(Debug)]
pub struct Form {
    /// The line of the table.
    pub entry: Entry,
    /// Its signature.
    pub signature: Arc<Signature>,
    /// Parameters in the order of positional arguments.
    pub(super) order: Vec<u8>,
    /// Position from which values may be given one by one.
    pub(super) spread: Option<usize>,
    /// Parameter that a method is called on, and that is changed in place.
    pub(super) receiver: usize,
    /// Whether it is a method.
    pub method: bool,
    /// Whether the result is written into the receiver.
    pub inplace: bool,
}

impl Form {
    fn new(entry: Entry, signature: Arc<Signature>, method: bool, inplace: bool) -> Form {
        let receiver = signature.receiver();
        let mut form = Form { entry, signature, order: Vec::new(), spread: None, receiver, method, inplace };
        let params = &form.signature.params;
        let free = |p: &usize| !params[*p].keyword_only && !form.hides(*p);
        let lead = method.then_some(receiver);
        let order: Vec<usize> = lead.into_iter().chain((0..params.len()).filter(free)).collect();
        let first = usize::from(method);
        let many = match order.get(first).map(|&p| params[p].kind) {
            Some(Kind::Ints(_)) => order.len() == first + 1,
            Some(Kind::Tensors) => form.signature.spread,
            _ => false,
        };
        form.order = order.into_iter().filter_map(|p| u8::try_from(p).ok()).collect();
        form.spread = many.then_some(first);
        form
    }

    /// The parameters that callers can give, in order; a method's own tensor is not among them.
    pub fn params(&self) -> impl Iterator<Item = &super::Param> {
        self.signature.params.iter().enumerate().filter(|(i, _)| !self.hides(*i)).map(|(_, p)| p)
    }

    /// Whether the first parameter takes its values one by one, too.
    pub fn spreads(&self) -> bool {
        self.spread.is_some()
    }

    /// The parameters in parentheses, for messages.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        let mut star = false;
        for p in self.params() {
            if p.keyword_only && !star {
                star = true;
                parts.push("*".to_string());
            }
            let default = if p.default.is_some() { format!(" = {}", p.default_text) } else { String::new() };
            parts.push(format!("{} {}{default}", p.kind.words(), p.name));
        }
        format!("({})", parts.join(", "))
    }
}

/// A name in its place.
#[derive(Debug)]
pub struct Callable {
    /// The name.
    pub name: String,
    /// Where it is found.
    pub space: Space,
    /// Its forms, in the order they are tried.
    pub forms: Vec<Form>,
}

impl Callable {
    /// Whether it is a method of tensors.
    pub fn is_method(&self) -> bool {
        self.space == Space::Method
    }

    /// The function for a call of the method with whole numbers only.
    #[inline]
    pub fn short(&self) -> Option<Short> {
        self.forms.first().filter(|f| f.method && !f.inplace)?.entry.short
    }

    /// What it does: the sentence of its first form, and the forms where there are several.
    pub fn doc(&self) -> String {
        let mut text = String::new();
        for form in &self.forms {
            if !text.contains(form.entry.doc) {
                text += if text.is_empty() { "" } else { "\n" };
                text += form.entry.doc;
            }
        }
        if self.forms.first().is_some_and(|f| f.inplace) {
            text += " In place.";
        }
        if self.forms.len() > 1 {
            let list: Vec<_> = self.forms.iter().map(|f| format!("\n    {}{}", self.name, f.text())).collect();
            text += &format!("\n\nForms:{}", list.concat());
        }
        text
    }

    /// The parameters as Python's `inspect` reads them, in parentheses.
    pub fn text_signature(&self) -> String {
        let own = if self.is_method() { "$self" } else { "" };
        let join = |rest: String| match (own.is_empty(), rest.is_empty()) {
            (false, false) => format!("({own}, {rest})"),
            _ => format!("({own}{rest})"),
        };
        let [form] = &self.forms[..] else { return join("*args, **kwargs".to_string()) };
        let mut parts = Vec::new();
        let mut star = false;
        for (i, p) in form.params().enumerate() {
            if i == 0 && form.spreads() {
                star = true;
                parts.push(format!("*{}", p.name));
                continue;
            }
            if p.keyword_only && !star {
                star = true;
                parts.push("*".to_string());
            }
            let default = if p.default.is_some() { format!("={}", python(p.default_text)) } else { String::new() };
            parts.push(format!("{}{default}", p.name));
        }
        join(parts.join(", "))
    }
}

/// A default as a Python literal.
pub fn python(text: &str) -> String {
    match text {
        "inf" | "nan" | "-inf" => "...".to_string(),
        _ if lampyr_base::DType::from_name(text).is_some() => "...".to_string(),
        list => list.replace('[', "(").replace(']', if list.contains(',') || list == "[]" { ")" } else { ",)" }),
    }
}

/// All names, sorted by place and name.
#[derive(Debug)]
pub struct Table {
    /// The names.
    pub callables: Vec<Callable>,
    /// What is wrong with lines of the table; empty in every release.
    pub faults: Vec<String>,
}

impl Table {
    /// Puts lines together.
    pub fn new(families: &[&[Entry]]) -> Table {
        let mut found: BTreeMap<(Space, String), Vec<Form>> = BTreeMap::new();
        let mut faults = Vec::new();
        for entry in families.iter().copied().flatten() {
            let signature = match Signature::parse(entry.signature) {
                Ok(signature) => Arc::new(signature),
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            for space in Space::ALL {
                let method = space == Space::Method;
                for (bit, inplace) in [(space.plain(), false), (space.inplace(), true)] {
                    if entry.spaces & bit == 0 {
                        continue;
                    }
                    for own in std::iter::once(signature.name).chain(entry.also.iter().copied()) {
                        let full = if inplace { format!("{own}_") } else { own.to_string() };
                        let form = Form::new(*entry, signature.clone(), method, inplace);
                        found.entry((space, full)).or_default().push(form);
                    }
                }
            }
        }
        let callables = found.into_iter().map(|((space, name), forms)| Callable { name, space, forms }).collect();
        Table { callables, faults }
    }

    /// A name in its place.
    pub fn find(&self, space: Space, name: &str) -> Option<&Callable> {
        let at = self.callables.binary_search_by(|c| (c.space, c.name.as_str()).cmp(&(space, name))).ok()?;
        self.callables.get(at)
    }
}

/// The table of this build.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::new(crate::functional::FAMILIES))
}

/// Whether a role is one that the dispatcher serves.
pub(super) fn served(role: Role) -> bool {
    role != Role::Plain
}
