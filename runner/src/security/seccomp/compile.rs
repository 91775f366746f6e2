//! From rules to a program of the kernel's classic BPF.
//!
//! ```text
//! architecture ours?  no: kill
//! number >= x32 bit?  yes: ENOSYS                    (x86_64 only)
//! binary search over ranges of numbers with the same answer
//!     leaf: return the verdict
//!     leaf: cases one after another, each: compare words, return its verdict; then the default
//! ```
//!
//! Why not `seccompiler`: its filters know one action for what matches and one for what does not;
//! a profile with ENOSYS for the unknown, EPERM for the refused and several errno values needs
//! an action per rule.
//!
//! Arguments are 64 bits wide and the machine loads 32, so a comparison looks at the high word
//! first, then at the low one. All jumps go forward, to "next instruction", "this case's answer"
//! or "next case".

use super::profile::{Argument, Comparison};
use super::rules::{Case, Rules, Verdict};

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) value: u32,
}

pub(super) const LOAD: u16 = 0x20; // accumulator = word at the offset
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` of this machine: little-endian, 64 bits, ELF machine number.
#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// Set in the numbers of x32 calls.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// The kernel's limit (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

const fn op(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        value,
    }
}

/// A jump over `skip` instructions where the condition does not hold.
const fn unless(code: u16, value: u32, skip: u8) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: skip,
        value,
    }
}

/// Compiles the rules.
///
/// # Errors
/// The program is longer than the kernel takes.
pub(super) fn program(rules: &Rules) -> Result<Vec<Instruction>, String> {
    let mut code = vec![
        op(LOAD, ARCHITECTURE),
        Instruction {
            code: JUMP_EQUAL,
            jump_true: 1,
            jump_false: 0,
            value: NATIVE,
        },
        op(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        op(LOAD, NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    code.extend([
        unless(JUMP_GREATER_OR_EQUAL, X32_BIT, 1),
        op(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]);
    let body = search(&ranges(rules), rules.default)?;
    code.extend(body);
    if code.len() > LONGEST {
        return Err(format!(
            "too large: {} instructions, the kernel takes {LONGEST}",
            code.len()
        ));
    }
    Ok(code)
}

/// The line of numbers, cut where the answer changes: first number, and the cases from there on.
fn ranges(rules: &Rules) -> Vec<(u32, Vec<Case>)> {
    let mut ranges: Vec<(u32, Vec<Case>)> = vec![(0, Vec::new())];
    let mut push = |start: u32, cases: &[Case]| match ranges.last_mut() {
        Some((_, last)) if last.as_slice() == cases => {}
        Some((at, last)) if *at == start => *last = cases.to_vec(),
        _ => ranges.push((start, cases.to_vec())),
    };
    let mut next = 0;
    for (&number, cases) in &rules.calls {
        if number > next {
            push(next, &[]);
        }
        push(number, cases);
        next = number + 1;
    }
    push(next, &[]);
    ranges
}

/// A binary search for the number in the accumulator.
fn search(ranges: &[(u32, Vec<Case>)], default: Verdict) -> Result<Vec<Instruction>, String> {
    let [_, _, ..] = ranges else {
        return leaf(ranges.first().map_or(&[], |(_, cases)| cases), default);
    };
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let pivot = high.first().map_or(0, |(start, _)| *start);
    let (low, high) = (search(low, default)?, search(high, default)?);
    let mut code = match u8::try_from(low.len()) {
        Ok(skip) => {
            let jump = op(JUMP_GREATER_OR_EQUAL, pivot);
            vec![Instruction {
                jump_true: skip,
                ..jump
            }]
        }
        // Too far for a conditional jump: a plain one reaches everything.
        Err(_) => {
            let far = u32::try_from(low.len()).map_err(|_| "too large".to_owned())?;
            vec![unless(JUMP_GREATER_OR_EQUAL, pivot, 1), op(JUMP, far)]
        }
    };
    code.extend(low);
    code.extend(high);
    Ok(code)
}

/// The cases of a call, then the default.
fn leaf(cases: &[Case], default: Verdict) -> Result<Vec<Instruction>, String> {
    let mut code = Vec::new();
    for case in cases {
        if case.when.is_empty() {
            code.push(op(RETURN, case.verdict));
            return Ok(code);
        }
        code.extend(one_case(case)?);
    }
    code.push(op(RETURN, default));
    Ok(code)
}

/// Where a comparison goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The instruction after.
    Next,
    /// This comparison holds.
    Holds,
    /// The case does not hold.
    Fails,
}

/// All comparisons of a case and its answer; falls out at the end where one does not hold.
fn one_case(case: &Case) -> Result<Vec<Instruction>, String> {
    let parts: Vec<_> = case.when.iter().map(comparison).collect();
    let total: usize = parts.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(total);
    for part in &parts {
        let end = code.len() + part.len();
        for (instruction, yes, no) in part {
            let distance = |to: To| match to {
                To::Next => Ok(0),
                To::Holds => u8::try_from(end - code.len() - 1),
                To::Fails => u8::try_from(total - code.len() - 1),
            };
            let far = |_| "too many comparisons in a rule".to_owned();
            let (jump_true, jump_false) =
                (distance(*yes).map_err(far)?, distance(*no).map_err(far)?);
            code.push(Instruction {
                jump_true,
                jump_false,
                ..*instruction
            });
        }
    }
    code.push(op(RETURN, case.verdict));
    Ok(code)
}

/// One 64-bit comparison as instructions with symbolic jumps.
fn comparison(argument: &Argument) -> Vec<(Instruction, To, To)> {
    use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual, NotEqual};
    let offset = ARGUMENTS + 8 * argument.index;
    let plain = |instruction| (instruction, To::Next, To::Next);
    let (load_high, load_low) = (plain(op(LOAD, offset + 4)), plain(op(LOAD, offset)));
    let (high, low) = ((argument.value >> 32) as u32, argument.value as u32);
    let (higher, equal) = (op(JUMP_GREATER, high), op(JUMP_EQUAL, high));
    let (equal_low, above) = (op(JUMP_EQUAL, low), op(JUMP_GREATER, low));
    let from = op(JUMP_GREATER_OR_EQUAL, low);
    // For the orderings: the high word decides unless it is equal.
    let ordered = |above: To, below: To, last: Instruction, yes: To, no: To| {
        vec![
            load_high,
            (higher, above, To::Next),
            (equal, To::Next, below),
            load_low,
            (last, yes, no),
        ]
    };
    match argument.op {
        Equal => vec![
            load_high,
            (equal, To::Next, To::Fails),
            load_low,
            (equal_low, To::Holds, To::Fails),
        ],
        NotEqual => vec![
            load_high,
            (equal, To::Next, To::Holds),
            load_low,
            (equal_low, To::Fails, To::Holds),
        ],
        MaskedEqual => {
            let wanted = argument.value_two;
            vec![
                load_high,
                plain(op(AND, high)),
                (op(JUMP_EQUAL, (wanted >> 32) as u32), To::Next, To::Fails),
                load_low,
                plain(op(AND, low)),
                (op(JUMP_EQUAL, wanted as u32), To::Holds, To::Fails),
            ]
        }
        Greater => ordered(To::Holds, To::Fails, above, To::Holds, To::Fails),
        GreaterOrEqual => ordered(To::Holds, To::Fails, from, To::Holds, To::Fails),
        Less => ordered(To::Fails, To::Holds, from, To::Fails, To::Holds),
        LessOrEqual => ordered(To::Fails, To::Holds, above, To::Fails, To::Holds),
    }
}
