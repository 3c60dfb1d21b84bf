//! One entry of unwind tables: the registers of a frame in, those of its caller out
//! (DWARF 5 section 6.4; the defaults are those of the ABI). No instruction of a
//! table can make this code loop.

use gimli::{
    BaseAddresses, CfaRule, Encoding, Evaluation, EvaluationResult, FrameDescriptionEntry, Location,
    Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection, Value,
};

use super::arch;
use super::fdes::{Reader, Slice};
use super::registers::Registers;
use super::tables::Step;
use crate::stack::capture::Capture;

/// Operations of an expression that are run. Those of compilers have three to ten;
/// one that jumps back would never end.
const MAX_OPERATIONS: u32 = 200;

/// The frame that is to be left.
pub(super) struct Row<'a> {
    pub(super) vaddr: u64,
    pub(super) is_innermost: bool,
    pub(super) registers: &'a Registers,
    pub(super) capture: &'a Capture,
    pub(super) bases: &'a BaseAddresses,
    pub(super) context: &'a mut UnwindContext<usize>,
}

/// Why a rule gives no value.
enum Failure {
    /// It is on the stack, where nothing was copied.
    Unreadable(u64),
    /// The rule makes no sense, or rests on a register that is not known.
    Unknown,
}

impl Reader for Row<'_> {
    type Out = Step;

    fn entry<'a, S: UnwindSection<Slice<'a>>>(
        self,
        section: &S,
        fde: &FrameDescriptionEntry<Slice<'a>>,
    ) -> Step {
        let Self { vaddr, is_innermost, registers, capture, bases, context } = self;
        let Ok(row) = fde.unwind_info_for_address(section, bases, context, vaddr) else {
            return Step::Lost;
        };
        let rules = Rules { section, encoding: fde.cie().encoding(), registers, capture };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                let base = registers.get(register.0).ok_or(Failure::Unknown);
                base.map(|base| base.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => rules.evaluate(expression, None),
        };
        let cfa = match cfa {
            Ok(cfa) => cfa,
            Err(failure) => return failure.into(),
        };

        let rule = row.register(fde.cie().return_address_register());
        let addr = match rule {
            // A leaf function has its return address where the call put it.
            None | Some(RegisterRule::SameValue) if is_innermost && arch::RETURNS_BY_REGISTER => {
                registers.get(arch::RETURN_ADDRESS).ok_or(Failure::Unknown)
            }
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => return Step::Root,
            Some(rule) => rules.value(&rule, cfa, None),
        };
        let addr = match addr {
            Ok(0) => return Step::Root,
            Ok(addr) => addr,
            Err(failure) => return failure.into(),
        };

        let mut caller = Registers::of_caller(cfa, None);
        for number in arch::PRESERVED {
            let own = registers.get(number);
            let value = match row.register(Register(number)) {
                None => own,
                Some(rule) => rules.value(&rule, cfa, own).ok(),
            };
            caller.set(number, value);
        }
        // A signal interrupts code whose stack pointer is not where a call would leave it.
        if let Some(rule) = row.register(Register(arch::STACK_POINTER))
            && let Ok(sp) = rules.value(&rule, cfa, Some(cfa))
        {
            caller.sp = sp;
        }
        Step::To { addr, registers: caller, exact: fde.is_signal_trampoline() }
    }
}

impl From<Failure> for Step {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreadable(addr) => Self::Unreadable(addr),
            Failure::Unknown => Self::Lost,
        }
    }
}

/// What rules are evaluated with.
struct Rules<'a, S> {
    section: &'a S,
    encoding: Encoding,
    registers: &'a Registers,
    capture: &'a Capture,
}

impl<'b, S: UnwindSection<Slice<'b>>> Rules<'_, S> {
    /// What the caller had in a register; `own` is what is in it now.
    fn value(&self, rule: &RegisterRule<usize>, cfa: u64, own: Option<u64>) -> Result<u64, Failure> {
        match rule {
            RegisterRule::SameValue => own.ok_or(Failure::Unknown),
            RegisterRule::Offset(offset) => self.read(cfa.wrapping_add_signed(*offset)),
            RegisterRule::ValOffset(offset) => Ok(cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(other) => self.registers.get(other.0).ok_or(Failure::Unknown),
            RegisterRule::Expression(expression) => self.read(self.evaluate(expression, Some(cfa))?),
            RegisterRule::ValExpression(expression) => self.evaluate(expression, Some(cfa)),
            RegisterRule::Constant(value) => Ok(*value),
            _ => Err(Failure::Unknown),
        }
    }

    fn read(&self, addr: u64) -> Result<u64, Failure> {
        self.capture.word(addr).ok_or(Failure::Unreadable(addr))
    }

    fn evaluate(&self, expression: &UnwindExpression<usize>, cfa: Option<u64>) -> Result<u64, Failure> {
        let unknown = |_| Failure::Unknown;
        let bytes = expression.get(self.section).map_err(unknown)?;
        let mut evaluation = Evaluation::new(bytes.0, self.encoding);
        evaluation.set_max_iterations(MAX_OPERATIONS);
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut result = evaluation.evaluate().map_err(unknown)?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = self.registers.get(register.0).ok_or(Failure::Unknown)?;
                    evaluation.resume_with_register(Value::Generic(value))
                }
                EvaluationResult::RequiresMemory { address, size: 8, .. } => {
                    evaluation.resume_with_memory(Value::Generic(self.read(address)?))
                }
                _ => return Err(Failure::Unknown),
            }
            .map_err(unknown)?;
        }
        match evaluation.as_result() {
            [piece] => match piece.location {
                Location::Address { address } => Ok(address),
                _ => Err(Failure::Unknown),
            },
            _ => Err(Failure::Unknown),
        }
    }
}
