//! What is known about numbers while a function is rewritten: which of them are addresses below 2³².

use std::collections::HashSet;

use wasmparser::Operator;

use super::LAST;
use super::operators::numeric;

/// What is known about a number on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    /// Below 2³².
    Small,
    /// What the local held when it had been written this often.
    Local {
        index: u32,
        version: u32,
    },
}

/// What is known at a point of a function. Where nothing is known about the stack it simply ends early.
#[derive(Default)]
pub(super) struct Facts {
    pub stack: Vec<Known>,
    versions: Vec<u32>,
    /// Locals below 2³².
    pub small: HashSet<u32>,
}

impl Facts {
    pub fn pop(&mut self) -> Known {
        self.stack.pop().unwrap_or(Known::Nothing)
    }

    pub fn drop(&mut self, count: usize) {
        self.stack.truncate(self.stack.len().saturating_sub(count));
    }

    pub fn version(&self, index: u32) -> u32 {
        self.versions.get(index as usize).copied().unwrap_or(0)
    }

    pub fn is_small(&self, known: Known) -> bool {
        match known {
            Known::Nothing => false,
            Known::Small => true,
            Known::Local { index, version } => self.version(index) == version && self.small.contains(&index),
        }
    }

    pub fn assign(&mut self, index: u32, value: Known) {
        let small = self.is_small(value);
        let at = index as usize;
        if self.versions.len() <= at {
            self.versions.resize(at + 1, 0);
        }
        self.versions[at] += 1;
        if small {
            self.small.insert(index);
        } else {
            self.small.remove(&index);
        }
    }

    /// Control may arrive here from elsewhere.
    pub fn forget(&mut self) {
        self.stack.clear();
        self.small.clear();
    }

    /// After an instruction that is no access.
    pub fn follow(&mut self, operator: &Operator<'_>) {
        use Operator as O;
        match operator {
            O::LocalGet { local_index } => {
                let (index, version) = (*local_index, self.version(*local_index));
                self.stack.push(Known::Local { index, version });
            }
            O::LocalSet { local_index } => {
                let value = self.pop();
                self.assign(*local_index, value);
            }
            O::LocalTee { local_index } => {
                let value = self.pop();
                self.assign(*local_index, value);
                let (index, version) = (*local_index, self.version(*local_index));
                self.stack.push(Known::Local { index, version });
            }
            O::I64Const { value } => {
                self.stack.push(if (0..=LAST).contains(value) { Known::Small } else { Known::Nothing });
            }
            O::I32Const { .. } | O::F32Const { .. } | O::F64Const { .. } | O::GlobalGet { .. } => {
                self.stack.push(Known::Nothing);
            }
            O::MemorySize { .. } => self.stack.push(Known::Small),
            O::GlobalSet { .. } | O::Drop => self.drop(1),
            O::Nop => {}
            O::I64ExtendI32U => {
                self.drop(1);
                self.stack.push(Known::Small);
            }
            O::I64And => {
                let (a, b) = (self.pop(), self.pop());
                let small = self.is_small(a) || self.is_small(b);
                self.stack.push(if small { Known::Small } else { Known::Nothing });
            }
            O::BrIf { .. } => self.drop(1),
            O::Block { .. } | O::If { .. } | O::Call { .. } | O::CallIndirect { .. } => self.stack.clear(),
            _ => match numeric(operator) {
                Some(operands) => {
                    self.drop(operands);
                    self.stack.push(Known::Nothing);
                }
                None => self.forget(),
            },
        }
    }
}
