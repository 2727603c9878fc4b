//! `#[derive(Attrs)]`: identity, equality, printing, copies and serialisation of ops from their fields.
//! `#[derive(Module)]`: parameters, buffers and modules in the fields of a struct.

mod module;

use proc_macro::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Expr, ExprLit, Fields, Lit, Meta, parse_macro_input};

fn docs(attrs: &[syn::Attribute]) -> String {
    let mut lines = Vec::new();
    for attr in attrs {
        if let Meta::NameValue(pair) = &attr.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value
        {
            lines.push(text.value().trim().to_string());
        }
    }
    lines.join(" ")
}

/// Implements `OpAttrs` and the constructor from attributes. A field may carry `#[attr(default = EXPR)]`.
#[proc_macro_derive(Attrs, attributes(attr))]
pub fn derive_attrs(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return syn::Error::new_spanned(name, "Attrs is for structs").to_compile_error().into();
    };
    let mut idents = Vec::new();
    let mut specs = Vec::new();
    let mut takes = Vec::new();
    match &data.fields {
        Fields::Named(fields) => {
            for field in &fields.named {
                let Some(ident) = field.ident.clone() else { continue };
                let text = ident.to_string();
                let ty = &field.ty;
                let doc = docs(&field.attrs);
                let mut default: Option<Expr> = None;
                for attr in field.attrs.iter().filter(|a| a.path().is_ident("attr")) {
                    let parsed = attr.parse_nested_meta(|meta| {
                        if meta.path.is_ident("default") {
                            default = Some(meta.value()?.parse()?);
                            return Ok(());
                        }
                        Err(meta.error("only `default = ...` is known"))
                    });
                    if let Err(e) = parsed {
                        return e.to_compile_error().into();
                    }
                }
                let (shown, given) = match &default {
                    Some(e) => {
                        let shown = quote!(#e).to_string().replace(' ', "");
                        (quote!(Some(#shown)), quote!(Some(#e)))
                    }
                    None => (quote!(None), quote!(None)),
                };
                specs.push(quote! {
                    ::lampyr_ir::AttrSpec {
                        name: #text, ty: <#ty as ::lampyr_ir::AttrField>::TYPE, default: #shown, doc: #doc,
                    }
                });
                takes.push(quote! {
                    #ident: ::lampyr_ir::attr::take_field::<#ty>(
                        &mut map, <Self as ::lampyr_ir::OpType>::NAME, #text, #given)?
                });
                idents.push((ident, text));
            }
        }
        Fields::Unit => {}
        Fields::Unnamed(f) => {
            return syn::Error::new_spanned(f, "Attrs needs named fields").to_compile_error().into();
        }
    }
    let names: Vec<_> = idents.iter().map(|(i, _)| i).collect();
    let texts: Vec<_> = idents.iter().map(|(_, t)| t).collect();
    let (to_ref, substitute, build) = if names.is_empty() {
        (
            quote!(::lampyr_ir::OpRef::Static(&#name)),
            quote!({
                let _ = bindings;
                None
            }),
            quote!(#name),
        )
    } else {
        (
            quote!(::lampyr_ir::OpRef::new(self.clone())),
            quote!({
                let mut changed = false;
                let copy = #name { #( #names: match ::lampyr_ir::AttrField::substitute(&self.#names, bindings) {
                    Some(v) => { changed = true; v }
                    None => self.#names.clone(),
                }, )* };
                if changed { Some(::lampyr_ir::OpRef::new(copy)) } else { None }
            }),
            quote!(#name { #(#takes,)* }),
        )
    };
    quote! {
        impl ::lampyr_ir::OpAttrs for #name {
            fn id(&self) -> ::lampyr_ir::OpId { <#name as ::lampyr_ir::Listed>::ID }
            fn name(&self) -> &'static str { <#name as ::lampyr_ir::OpType>::NAME }
            fn attrs(&self) -> ::std::vec::Vec<(&'static str, ::lampyr_ir::AttrValue)> {
                ::std::vec![#( (#texts, ::lampyr_ir::AttrField::to_attr(&self.#names)), )*]
            }
            fn to_ref(&self) -> ::lampyr_ir::OpRef { #to_ref }
            fn substitute(&self, bindings: &::lampyr_base::Bindings) -> ::std::option::Option<::lampyr_ir::OpRef> {
                #substitute
            }
            fn remake(&self, attrs: ::lampyr_ir::AttrMap) -> ::std::option::Option<::lampyr_ir::OpRef> {
                #name::from_attrs(attrs).ok()
            }
            fn as_any(&self) -> &dyn ::std::any::Any { self }
        }

        impl #name {
            /// The attributes of this op.
            pub const ATTRS: &'static [::lampyr_ir::AttrSpec] = &[#(#specs),*];

            /// An op from attributes by name.
            ///
            /// # Errors
            /// When one is missing, unknown, or of another type.
            pub fn from_attrs(mut map: ::lampyr_ir::AttrMap) -> ::lampyr_base::Result<::lampyr_ir::OpRef> {
                let op = #build;
                if let Some((extra, _)) = map.pop_first() {
                    return Err(::lampyr_base::Error::not_found(::std::format!("there is no attribute `{extra}`"))
                        .with_op(<Self as ::lampyr_ir::OpType>::NAME));
                }
                Ok(::lampyr_ir::OpAttrs::to_ref(&op))
            }
        }
    }
    .into()
}

/// Implements `lampyr::nn::Module`: the fields are its parts. `#[module(skip)]` leaves a field out,
/// `#[module(name = "...")]` gives it another name in the state dict.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    module::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
