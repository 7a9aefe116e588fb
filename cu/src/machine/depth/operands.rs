//! What the values on a function's operand stack take.

use wasmparser::{BinaryReaderError, FuncValidator, Operator, WasmModuleResources};

use super::{PER_VECTOR, value_bytes};

/// Follows a function's operators. It takes a validator for that: which values an operator leaves depends on the types of those before it.
pub(super) struct Operands<R> {
    validator: FuncValidator<R>,
    /// For each value how much it and those below it take, in bytes.
    bytes: Vec<u64>,
    most: u64,
}

impl<R: WasmModuleResources> Operands<R> {
    /// At the begin of a function, whose variables the validator knows.
    pub fn new(validator: FuncValidator<R>) -> Self {
        Self { validator, bytes: Vec::new(), most: 0 }
    }

    /// Bytes of all values, among them what the next operator takes.
    pub fn height(&self) -> u64 {
        self.bytes.last().copied().unwrap_or(0)
    }

    /// Most that there was.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Goes past an operator, which is at `offset`.
    pub fn pass(&mut self, operator: &Operator<'_>, offset: usize) -> Result<(), BinaryReaderError> {
        // Before it, because `end` and `return` mean blocks that are open until then.
        let pushed = operator.operator_arity(&self.validator).map_or(usize::MAX, |(_, pushed)| pushed as usize);
        self.validator.op(offset, operator)?;
        let height = self.validator.operand_stack_height() as usize;
        self.bytes.truncate(height.saturating_sub(pushed));
        while self.bytes.len() < height {
            let ty = self.validator.get_operand_type(height - 1 - self.bytes.len());
            // Where code cannot be reached a value may have no type.
            let bytes = ty.flatten().map_or(PER_VECTOR, value_bytes);
            self.bytes.push(self.height() + bytes);
        }
        self.most = self.most.max(self.height());
        Ok(())
    }
}
