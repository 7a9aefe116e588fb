//! What compiling a module will take at most, estimated from a look at its functions.
//!
//! The compiler's time is proportional to a function's code where the code is straight, and to the square of its control
//! flow where it is not (each branch against each variable and each other branch), and a running compilation cannot be
//! stopped. So modules that would take too long, or too much memory, are refused before. The weights come from measuring
//! functions made to be as bad as possible; what compilers make of real programs stays far below: an official `aos` costs
//! a small part of [`MAX_MODULE_COST`].

use wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, Payload, TypeRef};

use super::{CompileError, MAX_FUNCTION_BYTES};

/// Most functions of a module; the largest examined one has 2 367.
const MAX_FUNCTIONS: u32 = 30_000;
/// Most variables of a function; compilers leave a few hundred at most.
const MAX_LOCALS: u32 = 4_000;
/// Most calls in a function: each takes some 2.5 KiB while it is compiled.
const MAX_CALLS: u64 = 100_000;
/// Most a function may cost: some ten seconds, and a third of a gigabyte.
const MAX_FUNCTION_COST: u64 = 400_000_000;
/// Most a module may cost. A core does some 25 million in a second where the estimate is closest.
const MAX_MODULE_COST: u64 = 1_500_000_000;

/// Most types, imports, exports, globals, tables, segments of each kind; examined modules have a few dozen.
const MAX_ITEMS: u32 = 20_000;

const PER_FUNCTION: u64 = 10_000;
const PER_BYTE: u64 = 35;
const PER_CALL: u64 = 300;
const PER_LOCAL: u64 = 15;
/// Handing values over, as parameters and results of a call, of a block, of a branch or of a function, costs the square of how many there
/// are, divided by this: all of them are alive at the same time. A call with two thousand takes some 15 ms.
const CROWD: u64 = 5;
/// Control-flow operators that `memory.grow`, which the compiler takes apart, counts for.
const GROWTH: u64 = 3;
/// How many targets of a `br_table` count for one operator.
const TARGETS: u64 = 8;

/// The cost of the functions seen so far.
#[derive(Debug, Default)]
pub(super) struct Cost {
    functions: u32,
    total: u64,
    /// Parameters and results of each type.
    widths: Vec<u64>,
    /// Parameters and results of each function, imported ones first, and how many are imported.
    signatures: Vec<u64>,
    imported: usize,
}

/// The function being looked at.
pub(super) struct Function {
    bytes: u64,
    locals: u64,
    branches: u64,
    calls: u64,
    /// What it costs that calls, and blocks with types of their own, take and give values.
    crowds: u64,
    /// Most values that any branch may carry.
    widest: u64,
}

impl Cost {
    /// Checks how many items a section has, and takes note of what is needed for what comes after it.
    pub fn section(&mut self, payload: &Payload<'_>) -> Result<(), CompileError> {
        Self::check(payload)?;
        self.note(payload).map_err(|error| CompileError::Invalid(error.to_string()))
    }

    fn note(&mut self, payload: &Payload<'_>) -> wasmparser::Result<()> {
        let width = |widths: &[u64], ty: u32| widths.get(ty as usize).copied().unwrap_or(0);
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for ty in group?.into_types() {
                        self.widths.push(match &ty.composite_type.inner {
                            CompositeInnerType::Func(ty) => (ty.params().len() + ty.results().len()) as u64,
                            _ => 0,
                        });
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    if let TypeRef::Func(ty) = import?.ty {
                        self.signatures.push(width(&self.widths, ty));
                    }
                }
                self.imported = self.signatures.len();
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    self.signatures.push(width(&self.widths, ty?));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check(payload: &Payload<'_>) -> Result<(), CompileError> {
        let (what, count) = match payload {
            Payload::TypeSection(section) => ("types", section.count()),
            Payload::ImportSection(section) => ("imports", section.count()),
            Payload::TableSection(section) => ("tables", section.count()),
            Payload::GlobalSection(section) => ("globals", section.count()),
            Payload::ExportSection(section) => ("exports", section.count()),
            Payload::ElementSection(section) => ("element segments", section.count()),
            Payload::DataSection(section) => ("data segments", section.count()),
            Payload::FunctionSection(section) => {
                return at_most("functions", section.count().into(), MAX_FUNCTIONS.into());
            }
            _ => return Ok(()),
        };
        at_most(what, count.into(), MAX_ITEMS.into())
    }

    /// Begins with a function's body.
    pub fn begin(&mut self, body: &FunctionBody<'_>) -> Result<Function, CompileError> {
        let bytes = body.range().len();
        if bytes > MAX_FUNCTION_BYTES {
            return Err(CompileError::FunctionTooLarge { bytes, limit: MAX_FUNCTION_BYTES });
        }
        self.functions += 1;
        at_most("functions", self.functions.into(), MAX_FUNCTIONS.into())?;
        let invalid = |error: wasmparser::BinaryReaderError| CompileError::Invalid(error.to_string());
        let own = self.signatures.get(self.imported + self.functions as usize - 1).copied().unwrap_or(0);
        // Parameters are variables, and results are what every branch to the end carries.
        let mut locals = own;
        for group in body.get_locals_reader().map_err(invalid)? {
            locals += u64::from(group.map_err(invalid)?.0);
            at_most("variables in a function", locals, MAX_LOCALS.into())?;
        }
        Ok(Function { bytes: bytes as u64, locals, branches: 0, calls: 0, crowds: crowd(own), widest: own })
    }

    /// Adds a function that has been looked at.
    pub fn end(&mut self, function: &Function) -> Result<(), CompileError> {
        let Function { bytes, locals, branches, calls, crowds, widest } = *function;
        at_most("calls in a function", calls, MAX_CALLS)?;
        let flow = branches.saturating_mul(branches.saturating_add(locals));
        let crowds = crowds.saturating_add(branches.saturating_mul(crowd(widest)));
        let cost = PER_FUNCTION
            .saturating_add(bytes.saturating_mul(PER_BYTE))
            .saturating_add(calls.saturating_mul(PER_CALL))
            .saturating_add(locals.saturating_mul(PER_LOCAL))
            .saturating_add(crowds)
            .saturating_add(flow);
        at_most("units of work to compile a function", cost, MAX_FUNCTION_COST)?;
        self.total = self.total.saturating_add(cost);
        at_most("units of work to compile it", self.total, MAX_MODULE_COST)
    }

    /// The estimate.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl Function {
    /// Takes an operator into account.
    pub fn see(&mut self, operator: &Operator<'_>, module: &Cost) {
        match operator {
            Operator::Call { function_index } => {
                self.calls += 1;
                self.crowds += crowd(module.signatures.get(*function_index as usize).copied().unwrap_or(0));
            }
            Operator::CallIndirect { type_index, .. } | Operator::CallRef { type_index } => {
                self.calls += 1;
                self.crowds += crowd(module.widths.get(*type_index as usize).copied().unwrap_or(0));
            }
            Operator::MemoryGrow { .. } => self.branches += GROWTH,
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                self.branches += 1;
                if let BlockType::FuncType(ty) = blockty {
                    let width = module.widths.get(*ty as usize).copied().unwrap_or(0);
                    self.crowds += crowd(width);
                    self.widest = self.widest.max(width);
                }
            }
            Operator::Else | Operator::Br { .. } | Operator::BrIf { .. } | Operator::Return => self.branches += 1,
            Operator::BrTable { targets } => {
                self.branches += 1 + u64::from(targets.len()) / TARGETS;
                // Each target gets a block of its own that hands the values on.
                self.crowds += u64::from(targets.len()) * crowd(self.widest);
            }
            _ => {}
        }
    }
}

fn crowd(width: u64) -> u64 {
    width * width / CROWD
}

fn at_most(what: &'static str, found: u64, limit: u64) -> Result<(), CompileError> {
    if found > limit { Err(CompileError::TooCostly { what, found, limit }) } else { Ok(()) }
}
