//! Components that call what they import with arguments a test wrote, and hand back what they were answered: their
//! memory, from where the arguments were put to the end of what was allocated.
//!
//! Arguments are laid out as the component model lays them out: at most sixteen numbers each, of which strings and lists
//! take two, an option one more than what it is of.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};

/// Where the arguments of the calls are, and after them what they point to.
const BASE: u32 = 65_536;
/// Of one call: its arguments, and from `ANSWER` on what comes back.
const BLOCK: u32 = 512;
const ANSWER: u32 = 128;
/// Calls of one component.
const CALLS: u32 = 24;

/// One call of an imported function.
#[derive(Clone)]
pub(crate) struct Call {
    interface: &'static str,
    function: &'static str,
    arguments: Vec<Argument>,
}

#[derive(Clone)]
enum Argument {
    Number(u64),
    Bytes(Vec<u8>),
    List(Vec<Vec<Cell>>),
}

/// A part of an element of a list.
#[derive(Clone)]
pub(crate) enum Cell {
    Text(&'static str),
    /// Of four bytes.
    Number(u32),
    /// Of eight.
    Long(u64),
}

pub(crate) fn call(interface: &'static str, function: &'static str) -> Call {
    Call { interface, function, arguments: Vec::new() }
}

impl Call {
    pub(crate) fn text(self, text: &str) -> Self {
        self.with(Argument::Bytes(text.as_bytes().to_vec()))
    }

    pub(crate) fn number(self, number: u64) -> Self {
        self.with(Argument::Number(number))
    }

    /// An option that is none, of what takes so many numbers.
    pub(crate) fn none(self, of: usize) -> Self {
        (0..=of).fold(self, |call, _| call.number(0))
    }

    /// Says that what comes next is there.
    pub(crate) fn some(self) -> Self {
        self.number(1)
    }

    pub(crate) fn list(self, elements: &[&[Cell]]) -> Self {
        self.with(Argument::List(elements.iter().map(|cells| cells.to_vec()).collect()))
    }

    fn with(mut self, argument: Argument) -> Self {
        self.arguments.push(argument);
        self
    }
}

/// What the calls are given, as the component expects it.
pub(crate) fn image(calls: &[Call]) -> Vec<u8> {
    assert!(calls.len() <= CALLS as usize, "{} calls", calls.len());
    let mut image = Image { bytes: vec![0; (CALLS * BLOCK) as usize] };
    for (block, call) in calls.iter().enumerate() {
        let numbers = call.arguments.iter().flat_map(|argument| image.numbers(argument)).collect::<Vec<_>>();
        let at = block * BLOCK as usize;
        for (slot, number) in numbers.into_iter().enumerate() {
            image.bytes[at + slot * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
    }
    image.bytes
}

struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn numbers(&mut self, argument: &Argument) -> Vec<u64> {
        match argument {
            Argument::Number(number) => vec![*number],
            Argument::Bytes(bytes) => vec![self.put(bytes).into(), bytes.len() as u64],
            Argument::List(elements) => {
                let bytes: Vec<u8> = elements.iter().flat_map(|cells| self.element(cells)).collect();
                vec![self.put(&bytes).into(), elements.len() as u64]
            }
        }
    }

    fn element(&mut self, cells: &[Cell]) -> Vec<u8> {
        let mut element = Vec::new();
        for cell in cells {
            match cell {
                Cell::Text(text) => {
                    element.extend(self.put(text.as_bytes()).to_le_bytes());
                    element.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
                }
                Cell::Number(number) => element.extend(number.to_le_bytes()),
                Cell::Long(number) => element.extend(number.to_le_bytes()),
            }
        }
        element
    }

    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = BASE + u32::try_from(self.bytes.len()).unwrap();
        self.bytes.extend(bytes);
        at
    }
}

/// What a component has handed back.
pub(crate) struct Told(pub(crate) Vec<u8>);

impl Told {
    /// Where the answer of a call is.
    pub(crate) fn answer(call: usize) -> usize {
        (BASE + ANSWER) as usize + call * BLOCK as usize
    }

    /// Where what a call succeeded with is, or the code and the text of its error; `align` is that of the result.
    pub(crate) fn result(&self, call: usize, align: usize) -> Result<usize, (u8, String)> {
        let at = Self::answer(call);
        match self.byte(at) {
            0 => Ok(at + align),
            _ => Err((self.byte(at + align), self.text(at + align + 4))),
        }
    }

    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.0[at - BASE as usize]
    }

    pub(crate) fn number(&self, at: usize) -> usize {
        u32::from_le_bytes(self.some(at, 4).try_into().unwrap()) as usize
    }

    pub(crate) fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.some(at, 8).try_into().unwrap())
    }

    /// What a string, or a list of bytes, says.
    pub(crate) fn text(&self, at: usize) -> String {
        let (place, length) = (self.number(at), self.number(at + 4));
        if length == 0 {
            String::new()
        } else {
            String::from_utf8(self.some(place, length).to_vec()).unwrap()
        }
    }

    /// Where the elements of a list are, each of so many bytes.
    pub(crate) fn elements(&self, at: usize, size: usize) -> Vec<usize> {
        let (place, length) = (self.number(at), self.number(at + 4));
        (0..length).map(|element| place + element * size).collect()
    }

    fn some(&self, at: usize, length: usize) -> &[u8] {
        &self.0[at - BASE as usize..][..length]
    }
}

/// A component that makes these calls, one after the other, when it is invoked.
pub(crate) fn component(calls: &[Call]) -> Vec<u8> {
    let resolve = interfaces(calls);
    let mut module = wat::parse_str(core(&resolve, calls)).unwrap();
    let package = resolve.packages.iter().find(|(_, package)| package.name.name == "probe").unwrap().0;
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

fn interfaces(calls: &[Call]) -> Resolve {
    let mut resolve = Resolve::default();
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    resolve.push_dir(here.join("../wit")).unwrap();
    for file in ["config.wit", "keyvalue.wit", "keyvalue2.wit"] {
        resolve.push_file(here.join("wit").join(file)).unwrap();
    }
    resolve.push_str("outgoing.wit", include_str!("outgoing.wit")).unwrap();
    let mut world = "package probe:probe; world probe { export outrigger:functions/invoke@0.1.0;".to_owned();
    for interface in calls.iter().map(|call| call.interface).collect::<BTreeSet<_>>() {
        write!(world, " import {interface};").unwrap();
    }
    resolve.push_str("probe.wit", &(world + " }")).unwrap();
    resolve
}

fn signature(resolve: &Resolve, call: &Call) -> WasmSignature {
    if call.function.starts_with("[resource-drop]") {
        let params = vec![WasmType::I32];
        return WasmSignature { params, results: Vec::new(), indirect_params: false, retptr: false };
    }
    let named = |id| resolve.id_of(id).as_deref() == Some(call.interface);
    let (_, interface) = resolve.interfaces.iter().find(|(id, _)| named(*id)).expect(call.interface);
    let function = interface.functions.get(call.function);
    let function = function.unwrap_or_else(|| panic!("there is no {}", call.function));
    resolve.wasm_signature(AbiVariant::GuestImport, function)
}

fn core(resolve: &Resolve, calls: &[Call]) -> String {
    let (mut imports, mut body) = (String::new(), String::new());
    for (at, call) in calls.iter().enumerate() {
        let signature = signature(resolve, call);
        assert!(!signature.indirect_params, "{}", call.function);
        let types = |types: &[WasmType]| types.iter().map(|ty| name(*ty)).collect::<Vec<_>>().join(" ");
        let Call { interface, function, .. } = call;
        let (params, results) = (types(&signature.params), types(&signature.results));
        writeln!(
            imports,
            "(import \"{interface}\" \"{function}\" (func $f{at} (param {params}) (result {results})))"
        )
        .unwrap();
        let block = BASE + u32::try_from(at).unwrap() * BLOCK;
        let given = signature.params.len() - usize::from(signature.retptr);
        let mut arguments: Vec<_> = (0..given)
            .map(|slot| {
                format!("({}.load (i32.const {}))", name(signature.params[slot]), block as usize + slot * 8)
            })
            .collect();
        let answer = block + ANSWER;
        if signature.retptr {
            arguments.push(format!("(i32.const {answer})"));
        }
        let made = format!("(call $f{at} {})", arguments.join(" "));
        match signature.results[..] {
            [] => writeln!(body, "{made}").unwrap(),
            [ty, ..] => writeln!(body, "({}.store (i32.const {answer}) {made})", name(ty)).unwrap(),
        }
    }
    // The ten numbers of a call are five strings and lists; the fourth is the data.
    format!(
        r#"(module
          {imports}
          (memory (export "memory") 4)
          (global $next (mut i32) (i32.const 4096))
          (func $room (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $new i32)
            (result i32) (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
            (global.set $next (i32.add (local.get $at) (local.get $new)))
            (block $fits
              (loop $more
                (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
                (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                (br $more)))
            (memory.copy (local.get $at) (local.get $old) (local.get $had))
            (local.get $at))
          (func (export "outrigger:functions/invoke@0.1.0#handle")
            (param i32 i32 i32 i32 i32 i32) (param $data i32) (param $length i32) (param i32 i32) (result i32)
            (global.set $next (i32.const {BASE}))
            (drop (call $room (i32.const 0) (i32.const 0) (i32.const 1) (local.get $length)))
            (memory.copy (i32.const {BASE}) (local.get $data) (local.get $length))
            {body}
            (i32.store (i32.const 1036) (i32.const {BASE}))
            (i32.store (i32.const 1040) (i32.sub (global.get $next) (i32.const {BASE})))
            (i32.const 1024)))"#
    )
}

fn name(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}
