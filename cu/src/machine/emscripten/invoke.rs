//! Protected calls of any signature: `invoke_<result><parameters>` (spec 06 §5.1). The two that Lua uses are in `control`.

use wasmtime::{Caller, ExternType, Func, FuncType, Linker, Module, Ref, Trap, Val, ValType};

use super::{
    control::{Longjmp, give_room_back, room_left},
    pointer::Pointer,
};
use crate::machine::{format::Generation, host::Host};

const PREFIX: &str = "invoke_";

/// What a protected call calls.
struct Called {
    /// Type of the function in the table.
    function: FuncType,
    /// Name and type of the export that calls it by its index, where hosts use that.
    by_name: Option<(String, FuncType)>,
}

/// Links the protected calls that a module imports.
pub(super) fn link<P: Pointer>(
    linker: &mut Linker<Host>,
    module: &Module,
    generation: Generation,
) -> wasmtime::Result<()> {
    for import in module.imports() {
        let Some(signature) = import.name().strip_prefix(PREFIX).filter(|_| import.module() == "env") else { continue };
        let ExternType::Func(ty) = import.ty() else { continue };
        if import.name() == P::INVOKE.0 || !fits::<P>(&ty, signature) {
            continue;
        }
        let called = Called {
            function: FuncType::new(linker.engine(), ty.params().skip(1), ty.results()),
            by_name: (generation == Generation::Fourth).then(|| {
                let parameters = std::iter::once(ValType::I32).chain(ty.params().skip(1));
                (format!("dynCall_{signature}"), FuncType::new(linker.engine(), parameters, ty.results()))
            }),
        };
        linker.func_new("env", import.name(), ty, move |caller, arguments, results| {
            protected::<P>(caller, &called, arguments, results)
        })?;
    }
    Ok(())
}

/// Whether a type is what its letters say: the result, after a function pointer the parameters.
fn fits<P: Pointer>(ty: &FuncType, signature: &str) -> bool {
    let of = |letter: char| match letter {
        'i' => Some(ValType::I32),
        'j' => Some(ValType::I64),
        'f' => Some(ValType::F32),
        'd' => Some(ValType::F64),
        'p' => Some(if P::wide() { ValType::I64 } else { ValType::I32 }),
        _ => None,
    };
    let mut letters = signature.chars();
    let result = match (letters.next(), ty.results().next()) {
        (Some('v'), None) => true,
        (Some(letter), Some(result)) => of(letter).is_some_and(|wanted| wanted.matches(&result)),
        _ => false,
    };
    let mut parameters = ty.params();
    let pointer = parameters.next().is_some_and(|first| if P::wide() { first.is_i64() } else { first.is_i32() });
    let parameters: Vec<ValType> = parameters.collect();
    let letters: Vec<Option<ValType>> = letters.map(of).collect();
    result
        && pointer
        && ty.results().len() <= 1
        && parameters.len() == letters.len()
        && letters
            .iter()
            .zip(&parameters)
            .all(|(wanted, given)| wanted.as_ref().is_some_and(|wanted| wanted.matches(given)))
}

fn protected<P: Pointer>(
    mut caller: Caller<'_, Host>,
    called: &Called,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    let exports = P::exports(caller.data()).ok_or(Trap::UnreachableCodeReached)?;
    let stack = exports.stack_current.call(&mut caller, ())?;
    let room = room_left(&mut caller);
    let (index, arguments) = match arguments.split_first() {
        // Tables have 32-bit indices whatever the width of pointers (spec 06 §1.3).
        Some((Val::I32(index), rest)) => (*index, rest),
        Some((Val::I64(index), rest)) => (*index as i32, rest),
        _ => return Err(Trap::BadSignature.into()),
    };
    let exported = called.by_name.as_ref().and_then(|(name, ty)| Some((caller.get_export(name)?.into_func()?, ty)));
    let with_index: Vec<Val>;
    let (function, ty, arguments) = match exported {
        Some((function, ty)) => {
            with_index = std::iter::once(Val::I32(index)).chain(arguments.iter().copied()).collect();
            (function, ty, with_index.as_slice())
        }
        None => (entry::<P>(&mut caller, index)?, &called.function, arguments),
    };
    // What another type would give is no answer that the caller could take, and no business of the engine's.
    if !FuncType::eq(&function.ty(&caller), ty) {
        return Err(Trap::BadSignature.into());
    }
    let outcome = function.call(&mut caller, arguments, results);
    match outcome {
        Err(error) if error.is::<Longjmp>() => {
            give_room_back(&mut caller, room)?;
            exports.stack_restore.call(&mut caller, stack)?;
            exports.set_threw.call(&mut caller, (P::from_address(1), 0))?;
            for (result, ty) in results.iter_mut().zip(ty.results()) {
                *result = Val::default_for_ty(&ty).ok_or(Trap::BadSignature)?;
            }
            Ok(())
        }
        other => other,
    }
}

/// A function of the module's table.
pub(super) fn entry<P: Pointer>(caller: &mut Caller<'_, Host>, index: i32) -> wasmtime::Result<Func> {
    let table = P::exports(caller.data()).and_then(|exports| exports.table).ok_or(Trap::TableOutOfBounds)?;
    match table.get(&mut *caller, u64::from(index as u32)) {
        None => Err(Trap::TableOutOfBounds.into()),
        Some(Ref::Func(Some(function))) => Ok(function),
        Some(_) => Err(Trap::IndirectCallToNull.into()),
    }
}
