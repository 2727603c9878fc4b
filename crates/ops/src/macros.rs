/// Declares the families, modules and registry lines of all ops.
macro_rules! ops {
    ($($(#[$doc:meta])* $family:ident { $($name:ident: $ty:ident,)* })*) => {
        $($(#[$doc])* #[allow(clippy::module_inception)] pub mod $family { $(pub mod $name;)* })*

        /// All op types and the functions that apply them to a builder, by their short names.
        pub mod build {
            $($(pub use super::$family::$name::*;)*)*
        }

        #[allow(clippy::enum_variant_names)]
        enum Index { $($($ty,)*)* }

        $($(
            impl lampyr_ir::Listed for $family::$name::$ty {
                const ID: lampyr_ir::OpId = lampyr_ir::OpId(Index::$ty as u16);
                const FAMILY: &'static str = stringify!($family);
            }
        )*)*

        static ENTRIES: &[lampyr_ir::OpEntry] = &[$($({
            use $family::$name::$ty as T;
            lampyr_ir::OpEntry {
                id: <T as lampyr_ir::Listed>::ID,
                name: <T as lampyr_ir::OpType>::NAME,
                family: stringify!($family),
                doc: <T as lampyr_ir::OpType>::DOC,
                attrs: T::ATTRS,
                dtypes: <T as lampyr_ir::OpType>::DTYPES,
                version: <T as lampyr_ir::OpType>::VERSION,
                promote: <T as lampyr_ir::OpType>::PROMOTE,
                autocast: <T as lampyr_ir::OpType>::AUTOCAST,
                onnx: <T as lampyr_ir::OpType>::onnx,
                rules: <T as lampyr_ir::OpType>::rules,
                cases: <T as lampyr_ir::OpType>::cases,
                make: T::from_attrs,
            }
        },)*)*];
    };
}
