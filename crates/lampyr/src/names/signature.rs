//! Signatures as PyTorch writes them: `clamp(Tensor input, Scalar? min=None, *, Tensor? out=None) -> Tensor`.

use lampyr_base::DType;
use lampyr_runtime::Scalar;
use smallvec::SmallVec;

use super::value::Value;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tensor.
    Tensor,
    /// A tensor or a number, which adapts to the tensors beside it.
    Operand,
    /// Tensors.
    Tensors,
    /// Tensors, each of which may be absent.
    OptionalTensors,
    /// A number.
    Scalar,
    /// A whole number.
    Int,
    /// Whole numbers; one alone stands for as many as are given here (0: one alone is refused).
    Ints(u8),
    /// As `Ints`; `None` among them reads as -1.
    OptionalInts(u8),
    /// Lists of whole numbers.
    IntLists,
    /// A real number.
    Float,
    /// Real numbers; one alone stands for as many as are given here.
    Floats(u8),
    /// Truth.
    Bool,
    /// Truths.
    Bools,
    /// Text.
    Str,
    /// A data type.
    DType,
    /// A device.
    Device,
    /// A generator of random numbers.
    Generator,
    /// The memory behind a tensor.
    Storage,
    /// How elements are kept; all tensors are strided.
    Layout,
    /// An order of axes in memory; row-major is the only one.
    MemoryFormat,
    /// Anything; kept for callers that know more.
    Any,
}

impl Kind {
    fn parse(text: &str) -> Option<Kind> {
        Some(match text {
            "Tensor" => Kind::Tensor,
            "Operand" => Kind::Operand,
            "Tensor[]" => Kind::Tensors,
            "Tensor?[]" => Kind::OptionalTensors,
            "Scalar" => Kind::Scalar,
            "int" => Kind::Int,
            "float" => Kind::Float,
            "bool" => Kind::Bool,
            "bool[]" => Kind::Bools,
            "str" => Kind::Str,
            "dtype" => Kind::DType,
            "device" => Kind::Device,
            "Generator" => Kind::Generator,
            "Storage" => Kind::Storage,
            "layout" => Kind::Layout,
            "memory_format" => Kind::MemoryFormat,
            "Any" => Kind::Any,
            "int[][]" => Kind::IntLists,
            other => {
                let (base, count) = other.strip_suffix(']')?.split_once('[')?;
                let count = if count.is_empty() { 0 } else { count.parse().ok()? };
                match base {
                    "int" => Kind::Ints(count),
                    "int?" => Kind::OptionalInts(count),
                    "float" => Kind::Floats(count),
                    _ => return None,
                }
            }
        })
    }

    /// Words for messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Tensor => "Tensor",
            Kind::Operand => "Tensor or Number",
            Kind::Tensors => "tuple of Tensors",
            Kind::OptionalTensors => "tuple of Tensors or None",
            Kind::Scalar => "Number",
            Kind::Int => "int",
            Kind::Ints(0) => "tuple of ints",
            Kind::Ints(_) => "int or tuple of ints",
            Kind::OptionalInts(_) => "int or tuple of ints or None",
            Kind::IntLists => "tuple of lists of ints",
            Kind::Float => "float",
            Kind::Floats(0) => "tuple of floats",
            Kind::Floats(_) => "float or tuple of floats",
            Kind::Bool => "bool",
            Kind::Bools => "tuple of bools",
            Kind::Str => "str",
            Kind::DType => "dtype",
            Kind::Device => "device",
            Kind::Generator => "Generator",
            Kind::Storage => "Storage",
            Kind::Layout => "layout",
            Kind::MemoryFormat => "memory_format",
            Kind::Any => "object",
        }
    }
}

/// What the dispatcher does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The function itself reads it.
    Plain,
    /// `out`: the result is written there.
    Out,
    /// `requires_grad`: when true, the result collects a gradient.
    Leaf,
    /// `inplace`: when true, the result is written into the first tensor.
    Inplace,
}

/// One parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether `None` is taken too.
    pub optional: bool,
    /// Whether it is given by name only.
    pub keyword_only: bool,
    /// What it is when not given; `None` when it has to be given.
    pub default: Option<Value<'static>>,
    /// The default as it is written in Python.
    pub default_text: &'static str,
    /// Who reads it.
    pub role: Role,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nothing.
    Nothing,
    /// One value of this kind.
    One(&'static str),
    /// As many tensors as there are names; all empty where they have none.
    Tuple(Vec<&'static str>),
    /// Any number of tensors.
    List,
}

/// A parsed signature.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The name.
    pub name: &'static str,
    /// The text between the parentheses.
    pub text: &'static str,
    /// The parameters.
    pub params: Vec<Param>,
    /// Whether the tensors of the first parameter may be given one by one (`Tensor[]... tensors`).
    pub spread: bool,
    /// What comes back.
    pub returns: Returns,
}

impl Signature {
    /// Reads a signature.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &'static str) -> Result<Signature, String> {
        let fail = |what: &str| format!("{what} in the signature `{text}`");
        let (name, rest) = text.split_once('(').ok_or_else(|| fail("no `(`"))?;
        let (inner, returns) = rest.rsplit_once(") -> ").ok_or_else(|| fail("no `) -> `"))?;
        let (mut params, mut keyword_only, mut spread) = (Vec::<Param>::new(), false, false);
        for part in split(inner) {
            if part == "*" {
                keyword_only = true;
                continue;
            }
            let (declared, default_text) = match part.split_once('=') {
                Some((left, right)) => (left.trim(), Some(right.trim())),
                None => (part, None),
            };
            let (kind, name) = declared.rsplit_once(' ').ok_or_else(|| fail(&format!("no kind of `{part}`")))?;
            let kind = kind.strip_suffix("...").inspect(|_| spread = true).unwrap_or(kind);
            let (kind, optional) = kind.strip_suffix('?').map_or((kind, false), |k| (k, true));
            let kind = Kind::parse(kind).ok_or_else(|| fail(&format!("unknown kind `{kind}`")))?;
            let role = match (name, kind) {
                ("out", Kind::Tensor | Kind::Tensors) => Role::Out,
                ("inplace", Kind::Bool) => Role::Inplace,
                ("requires_grad", Kind::Bool) => Role::Leaf,
                _ => Role::Plain,
            };
            let default = match default_text {
                None => None,
                Some(d) => {
                    Some(default(kind, optional, d).ok_or_else(|| fail(&format!("`{d}` is no default of `{name}`")))?)
                }
            };
            if params.iter().any(|p| p.name == name) {
                return Err(fail(&format!("`{name}` twice")));
            }
            let needed_after = !keyword_only && default.is_none() && params.iter().any(|p| p.default.is_some());
            if needed_after {
                return Err(fail(&format!("`{name}` without a default after one with a default")));
            }
            let default_text = default_text.unwrap_or_default();
            params.push(Param { name, kind, optional, keyword_only, default, default_text, role });
        }
        let returns = Returns::parse(returns.trim()).ok_or_else(|| fail("unknown result"))?;
        Ok(Signature { name, text: inner, params, spread, returns })
    }

    /// Where the tensor stands that a method is called on: the one named `input`, else the first parameter.
    pub fn receiver(&self) -> usize {
        self.params.iter().position(|p| p.name == "input").unwrap_or(0)
    }
}

impl Returns {
    fn parse(text: &'static str) -> Option<Returns> {
        if let Some(inner) = text.strip_prefix('(') {
            let inner = inner.strip_suffix(')')?;
            if inner.is_empty() {
                return Some(Returns::Nothing);
            }
            let name = |part: &'static str| part.split_once(' ').map_or("", |(_, name)| name);
            return Some(Returns::Tuple(split(inner).into_iter().map(name).collect()));
        }
        match text {
            "Tensor[]" => Some(Returns::List),
            "Tensor" | "bool" | "int" | "float" | "Scalar" | "dtype" | "int[]" => Some(Returns::One(text)),
            _ => None,
        }
    }
}

/// Parts between commas outside of brackets.
fn split(text: &'static str) -> Vec<&'static str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|p| !p.is_empty());
    parts
}

fn default(kind: Kind, optional: bool, text: &'static str) -> Option<Value<'static>> {
    if text == "None" {
        return optional.then_some(Value::None);
    }
    let list = || text.strip_prefix('[')?.strip_suffix(']').map(split);
    Some(match kind {
        Kind::Bool => Value::Bool(truth(text)?),
        Kind::Int => Value::Int(text.parse().ok()?),
        Kind::Float => Value::Float(text.parse().ok()?),
        Kind::Scalar | Kind::Operand => Value::Scalar(match (truth(text), text.parse::<i64>()) {
            (Some(b), _) => Scalar::Bool(b),
            (_, Ok(i)) => Scalar::Int(i),
            _ => Scalar::Float(text.parse().ok()?),
        }),
        Kind::Ints(n) => Value::Ints(match list() {
            Some(parts) => parts.into_iter().map(|p| p.parse().ok()).collect::<Option<SmallVec<_>>>()?,
            None => SmallVec::from_elem(text.parse().ok()?, usize::from(n)),
        }),
        Kind::Floats(n) => Value::Floats(match list() {
            Some(parts) => parts.into_iter().map(|p| p.parse().ok()).collect::<Option<Vec<_>>>()?,
            None => vec![text.parse().ok()?; usize::from(n)],
        }),
        Kind::Str => Value::Str(text.strip_prefix('\'')?.strip_suffix('\'')?),
        Kind::DType => Value::DType(DType::from_name(text)?),
        Kind::Tensors if text == "[]" => Value::Tensors(Vec::new()),
        _ => return None,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kinds_defaults_and_roles() {
        let s = Signature::parse(
            "f(Tensor input, int[2] stride=1, Scalar? low=None, *, float p=0.5, str mode='mean', int[1]? dim=[0, 1], \
             Tensor? out=None) -> (Tensor values, Tensor indices)",
        )
        .unwrap();
        assert_eq!(s.name, "f");
        assert_eq!(s.returns, Returns::Tuple(vec!["values", "indices"]));
        let kinds: Vec<_> = s.params.iter().map(|p| (p.kind, p.optional, p.keyword_only)).collect();
        assert_eq!(kinds[1], (Kind::Ints(2), false, false));
        assert_eq!(kinds[2], (Kind::Scalar, true, false));
        assert_eq!(kinds[5], (Kind::Ints(1), true, true));
        assert!(matches!(&s.params[1].default, Some(Value::Ints(v)) if v[..] == [1, 1]));
        assert!(matches!(&s.params[5].default, Some(Value::Ints(v)) if v[..] == [0, 1]));
        assert!(matches!(s.params[4].default, Some(Value::Str("mean"))));
        assert_eq!(s.params[6].role, Role::Out);
    }

    #[test]
    fn a_method_is_called_on_the_input() {
        let s = Signature::parse("where(Tensor condition, Tensor input, Operand other) -> Tensor").unwrap();
        assert_eq!(s.receiver(), 1);
        let s = Signature::parse("meshgrid(Tensor[]... tensors, *, str? indexing=None) -> Tensor[]").unwrap();
        assert!(s.spread && s.receiver() == 0 && s.returns == Returns::List);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("f(Tensor x)", "no `) -> `"),
            ("f(Tensr x) -> Tensor", "unknown kind `Tensr`"),
            ("f(Tensor x, Tensor x) -> Tensor", "twice"),
            ("f(int x=a) -> Tensor", "is no default"),
            ("f(int x=None) -> Tensor", "is no default"),
            ("f(int x=1, int y) -> Tensor", "without a default"),
            ("f(int x) -> Tensr", "unknown result"),
        ] {
            let message = Signature::parse(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
