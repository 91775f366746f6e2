//! The device allow-list of a container, for v1 as rule lines and for v2 as a BPF program.
//!
//! ```text
//! RULES --v1_line--> devices.allow          (after "a" to devices.deny)
//! RULES --program--> instructions --sys::load--> program fd --sys::attach--> group directory
//! ```
//!
//! The program gets the access in register 1 as `struct bpf_cgroup_dev_ctx { access_type, major,
//! minor }`, all 32 bits, where access_type is `access << 16 | type`. It returns 1 to allow.

/// One allowed device, or family of them (`None` is any number).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    block: bool,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const TYPE_BLOCK: u32 = 1;
const TYPE_CHAR: u32 = 2;

const fn char(major: u32, minor: Option<u32>) -> Rule {
    Rule {
        block: false,
        major: Some(major),
        minor,
        access: MKNOD | READ | WRITE,
    }
}

const fn any(block: bool) -> Rule {
    Rule {
        block,
        major: None,
        minor: None,
        access: MKNOD,
    }
}

/// What a container may use. Making nodes is free here: the capability and `nodev` stand before.
pub(super) const RULES: [Rule; 11] = [
    any(false),
    any(true),
    char(1, Some(3)), // null
    char(1, Some(5)), // zero
    char(1, Some(7)), // full
    char(1, Some(8)), // random
    char(1, Some(9)), // urandom
    char(5, Some(0)), // tty
    char(5, Some(1)), // console
    char(5, Some(2)), // ptmx
    char(136, None),  // ptys
];

impl Rule {
    /// One device more; `access` has the letters r, w and m.
    pub fn allow(block: bool, major: u32, minor: u32, access: &str) -> Self {
        let letters = [('m', MKNOD), ('r', READ), ('w', WRITE)];
        let bits = letters
            .iter()
            .filter(|(letter, _)| access.contains(*letter));
        Self {
            block,
            major: Some(major),
            minor: Some(minor),
            access: bits.map(|(_, bit)| bit).sum(),
        }
    }

    /// The rule as a line for `devices.allow`.
    pub(super) fn v1_line(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        let kind = if self.block { 'b' } else { 'c' };
        format!(
            "{kind} {}:{} {access}",
            number(self.major),
            number(self.minor)
        )
    }
}

/// One instruction of extended BPF, as the kernel lays it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination register in the low four bits, source in the high.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // dst = *(u32 *)(src + offset)
const MOVE: u8 = 0xbf; // dst = src
const MOVE_IMMEDIATE: u8 = 0xb7; // dst = immediate
const AND_IMMEDIATE: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_NOT_EQUAL: u8 = 0x55; // against the immediate
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
const CONTEXT: u8 = 1; // the argument; scratch once the fields are loaded
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const fn op(code: u8, dst: u8, src: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: src << 4 | dst,
        offset,
        immediate,
    }
}

/// The program that allows the accesses of `rules` and refuses all others.
pub(super) fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        op(MOVE, ACCESS, TYPE, 0, 0),
        op(AND_IMMEDIATE, TYPE, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        op(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules {
        let kind = if rule.block { TYPE_BLOCK } else { TYPE_CHAR };
        let mut checks = vec![
            op(JUMP_NOT_EQUAL, TYPE, 0, 0, kind as i32),
            // Every wanted access must be among the allowed.
            op(MOVE, CONTEXT, ACCESS, 0, 0),
            op(AND_IMMEDIATE, CONTEXT, 0, 0, rule.access as i32),
            op(JUMP_NOT_EQUAL_REGISTER, CONTEXT, ACCESS, 0, 0),
        ];
        let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
        checks.extend(
            numbers.iter().filter_map(|&(reg, n)| {
                Some(op(JUMP_NOT_EQUAL, reg, 0, 0, i32::try_from(n?).ok()?))
            }),
        );
        checks.extend([op(MOVE_IMMEDIATE, RESULT, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
        let length = checks.len();
        for (at, instruction) in checks.iter_mut().enumerate() {
            if matches!(instruction.code, JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER) {
                instruction.offset = (length - at - 1) as i16; // to the next rule
            }
        }
        code.extend(checks);
    }
    code.extend([op(MOVE_IMMEDIATE, RESULT, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions that `program` uses.
    fn allowed(code: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [
            u64::from(access << 16 | kind),
            u64::from(major),
            u64::from(minor),
        ];
        let mut r = [0_u64; 6];
        let mut pc = 0;
        loop {
            let i = code[pc];
            let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            pc += 1;
            match i.code {
                0x61 => r[dst] = context[i.offset as usize / 4],
                0xbf => r[dst] = r[src],
                0xb7 => r[dst] = i.immediate as u64,
                0x57 => r[dst] &= i.immediate as u64,
                0x77 => r[dst] >>= i.immediate,
                0x55 if r[dst] != i.immediate as u64 => pc += i.offset as usize,
                0x5d if r[dst] != r[src] => pc += i.offset as usize,
                0x55 | 0x5d => {}
                0x95 => return r[0] == 1,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_keeps_the_list() {
        let code = program(&RULES);
        let char = |access, major, minor| allowed(&code, TYPE_CHAR, access, major, minor);
        assert!(char(READ | WRITE, 1, 3));
        assert!(char(READ | WRITE | MKNOD, 5, 2));
        assert!(char(WRITE, 136, 77));
        assert!(char(MKNOD, 10, 229));
        assert!(!char(READ, 10, 229));
        assert!(!char(READ | MKNOD, 1, 1)); // mem
        assert!(allowed(&code, TYPE_BLOCK, MKNOD, 8, 0));
        assert!(!allowed(&code, TYPE_BLOCK, READ, 8, 0));
        assert!(!allowed(&code, TYPE_BLOCK, READ, 1, 3));
        assert!(!allowed(&program(&[]), TYPE_CHAR, READ, 1, 3));
    }

    #[test]
    fn lines_of_v1() {
        assert_eq!(RULES[0].v1_line(), "c *:* m");
        assert_eq!(RULES[2].v1_line(), "c 1:3 rwm");
        assert_eq!(RULES[10].v1_line(), "c 136:* rwm");
    }
}
