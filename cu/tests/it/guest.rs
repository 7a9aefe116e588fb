//! A process that counts its messages, small enough to be read: `Module-Format: wasm32-unknown-unknown-holon1`.
//!
//! Every message adds one, unless its JSON text holds `X-Get`, and is answered with the count. `X-Fail`, `X-Refuse`,
//! `X-Trap` and `X-Spin` fail in the four ways a message can, after counting; `X-Echo` and `X-Environment` answer with what
//! the process was given.

/// The module's bytes.
pub fn wasm() -> Vec<u8> {
    wat::parse_str(TEXT).unwrap()
}

/// The module as text.
pub fn text() -> &'static str {
    TEXT
}

const TEXT: &str = r#"(module
  (memory (export "memory") 4)
  (data (i32.const 1024) "{\"ok\":true,\"response\":{\"Messages\":[{\"Target\":\"somebody\",\"Tags\":[]}],\"Output\":\"")
  (data (i32.const 1280) "\"}}")
  (data (i32.const 1300) "{\"ok\":true,\"response\":{\"Output\":")
  (data (i32.const 1400) "{\"ok\":true,\"response\":{\"Error\":\"failed on purpose\",\"Output\":\"lost\"}}")
  (data (i32.const 1500) "{\"ok\":false,\"response\":\"refused on purpose\"}")
  (data (i32.const 1600) "X-Get")
  (data (i32.const 1610) "X-Fail")
  (data (i32.const 1620) "X-Refuse")
  (data (i32.const 1630) "X-Trap")
  (data (i32.const 1640) "X-Spin")
  (data (i32.const 1650) "X-Echo")
  (data (i32.const 1660) "X-Environment")
  (global $free (mut i32) (i32.const 131072))

  (func (export "holon_alloc") (param $len i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get $len)) (i32.const 15)) (i32.const -16)))
    (block $fits
      (loop $grow
        (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $grow (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        (return (i32.const 0))))
    (local.get $at))

  (func $holds (param $text i32) (param $len i32) (param $word i32) (param $size i32) (result i32)
    (local $at i32) (local $same i32)
    (block $no
      (loop $next
        (br_if $no (i32.gt_u (i32.add (local.get $at) (local.get $size)) (local.get $len)))
        (local.set $same (i32.const 0))
        (block $differs
          (loop $compare
            (br_if $differs (i32.ne
              (i32.load8_u (i32.add (i32.add (local.get $text) (local.get $at)) (local.get $same)))
              (i32.load8_u (i32.add (local.get $word) (local.get $same)))))
            (local.set $same (i32.add (local.get $same) (i32.const 1)))
            (br_if $compare (i32.lt_u (local.get $same) (local.get $size)))
            (return (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  (func $copy (param $to i32) (param $from i32) (param $len i32) (result i32)
    (memory.copy (local.get $to) (local.get $from) (local.get $len))
    (i32.add (local.get $to) (local.get $len)))

  (func $span (param $at i32) (param $len i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $len))))

  (func $wrap (param $text i32) (param $len i32) (result i64)
    (local $end i32)
    (local.set $end (call $copy (i32.const 8192) (i32.const 1300) (i32.const 32)))
    (local.set $end (call $copy (local.get $end) (local.get $text) (local.get $len)))
    (local.set $end (call $copy (local.get $end) (i32.const 1281) (i32.const 2)))
    (call $span (i32.const 8192) (i32.sub (local.get $end) (i32.const 8192))))

  (func (export "holon_handle") (param $m i32) (param $ml i32) (param $e i32) (param $el i32) (result i64)
    (local $n i32) (local $end i32) (local $digits i32)
    (if (i32.eqz (call $holds (local.get $m) (local.get $ml) (i32.const 1600) (i32.const 5)))
      (then (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (i32.const 1)))))
    (if (call $holds (local.get $m) (local.get $ml) (i32.const 1610) (i32.const 6))
      (then (return (call $span (i32.const 1400) (i32.const 68)))))
    (if (call $holds (local.get $m) (local.get $ml) (i32.const 1620) (i32.const 8))
      (then (return (call $span (i32.const 1500) (i32.const 44)))))
    (if (call $holds (local.get $m) (local.get $ml) (i32.const 1630) (i32.const 6)) (then unreachable))
    (if (call $holds (local.get $m) (local.get $ml) (i32.const 1640) (i32.const 6)) (then (loop $spin (br $spin))))
    (if (call $holds (local.get $m) (local.get $ml) (i32.const 1650) (i32.const 6))
      (then (return (call $wrap (local.get $m) (local.get $ml)))))
    (if (call $holds (local.get $m) (local.get $ml) (i32.const 1660) (i32.const 13))
      (then (return (call $wrap (local.get $e) (local.get $el)))))
    (local.set $end (call $copy (i32.const 8192) (i32.const 1024) (i32.const 78)))
    (local.set $n (i32.load (i32.const 16)))
    (local.set $digits (i32.const 4096))
    (loop $digit
      (local.set $digits (i32.sub (local.get $digits) (i32.const 1)))
      (i32.store8 (local.get $digits) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
      (br_if $digit (local.get $n)))
    (local.set $end (call $copy (local.get $end) (local.get $digits) (i32.sub (i32.const 4096) (local.get $digits))))
    (local.set $end (call $copy (local.get $end) (i32.const 1280) (i32.const 3)))
    (call $span (i32.const 8192) (i32.sub (local.get $end) (i32.const 8192))))
)"#;
