//! Components that no compiler of a language makes: a good one with something added to it.

use anyhow::Context;
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, Encode, Function, FunctionSection, Instruction, Module,
    RefType, StartSection, TableSection, TableType, TypeSection, ValType,
};

/// Sections of a component: what nobody reads, core modules, and instances of them.
const CUSTOM: u8 = 0;
const CORE_MODULES: u8 = 1;
const CORE_INSTANCES: u8 = 2;
/// What a component begins with: the magic number, its version and layer.
const PREAMBLE_BYTES: usize = 8;
/// Functions of the module that is slow to compile, and what each computes: enough for many minutes.
const SLOW_FUNCTIONS: u32 = 24;
const SLOW_LOCALS: u32 = 2_000;
const SLOW_STEPS: u32 = 20_000;
/// How much a table grows at once.
const GROWTH: i32 = 10_000;

/// Returns a component whose instances grow a table as they start until they are refused more.
pub fn growing(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut all = component.to_vec();
    let number = modules_in(component)?;
    append(&mut all, CORE_MODULES, &growing_module());
    // One instance, of that module, which is given nothing.
    let mut instance = vec![1, 0];
    number.encode(&mut instance);
    instance.push(0);
    append(&mut all, CORE_INSTANCES, &instance);
    Ok(all)
}

/// Returns a component that does the same and is another one.
pub fn named(component: &[u8], name: &str) -> Vec<u8> {
    let mut all = component.to_vec();
    let mut section = Vec::new();
    name.encode(&mut section);
    append(&mut all, CUSTOM, &section);
    all
}

/// Returns a component that takes a compiler very long.
pub fn slow_to_compile(component: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut all = component.to_vec();
    append(&mut all, CORE_MODULES, &slow_module());
    Ok(all)
}

fn append(component: &mut Vec<u8>, section: u8, content: &[u8]) {
    component.push(section);
    content.encode(component);
}

/// Counts the core modules of a component that are its own, not its parts'.
fn modules_in(component: &[u8]) -> anyhow::Result<u32> {
    let mut rest = component.get(PREAMBLE_BYTES..).context("it has a preamble")?;
    let mut modules = 0;
    while let Some((&section, after)) = rest.split_first() {
        let (bytes, after) = length(after)?;
        modules += u32::from(section == CORE_MODULES);
        rest = after.get(bytes..).context("a section is whole")?;
    }
    Ok(modules)
}

/// Reads a length in LEB128, and returns what follows it.
fn length(mut bytes: &[u8]) -> anyhow::Result<(usize, &[u8])> {
    let mut length = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, after) = bytes.split_first().context("a length is whole")?;
        bytes = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((length, bytes));
        }
    }
    anyhow::bail!("a length of more than five bytes")
}

fn growing_module() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        minimum: 1,
        maximum: None,
        table64: false,
        shared: false,
    });
    let mut elements = ElementSection::new();
    elements.active(
        Some(0),
        &ConstExpr::i32_const(0),
        Elements::Functions([0][..].into()),
    );
    let mut start = Function::new([]);
    for step in [
        Instruction::Loop(wasm_encoder::BlockType::Empty),
        Instruction::RefNull(wasm_encoder::HeapType::FUNC),
        Instruction::I32Const(GROWTH),
        Instruction::TableGrow(0),
        // Until it is answered that there is no more.
        Instruction::I32Const(-1),
        Instruction::I32Ne,
        Instruction::BrIf(0),
        Instruction::End,
    ] {
        start.instruction(&step);
    }
    start.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&start);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&tables)
        .section(&StartSection { function_index: 0 })
        .section(&elements)
        .section(&code);
    module.finish()
}

/// Returns a module of functions in which every value depends on many before it.
fn slow_module() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I64], [ValType::I64]);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut body = Function::new([(SLOW_LOCALS, ValType::I64)]);
    for step in 0..SLOW_STEPS {
        body.instruction(&Instruction::LocalGet((step * 7) % SLOW_LOCALS));
        body.instruction(&Instruction::LocalGet((step * 13 + 1) % SLOW_LOCALS));
        body.instruction(&Instruction::I64Mul);
        body.instruction(&Instruction::LocalGet((step * 29 + 2) % SLOW_LOCALS));
        body.instruction(&Instruction::I64Xor);
        body.instruction(&Instruction::LocalTee((step * 31 + 3) % SLOW_LOCALS));
        body.instruction(&Instruction::I64Eqz);
        body.instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
        body.instruction(&Instruction::LocalGet((step * 37 + 5) % SLOW_LOCALS));
        body.instruction(&Instruction::LocalSet((step * 41 + 7) % SLOW_LOCALS));
        body.instruction(&Instruction::End);
    }
    body.instruction(&Instruction::LocalGet(0));
    body.instruction(&Instruction::End);
    for _ in 0..SLOW_FUNCTIONS {
        functions.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_to_compile_is_not_refused_for_its_size() {
        let bytes = slow_to_compile(b"\0asm\x0d\0\x01\0").expect("it is written");
        assert!(
            (4 * 1_048_576..20 * 1_048_576).contains(&bytes.len()),
            "{}",
            bytes.len()
        );
    }
}
