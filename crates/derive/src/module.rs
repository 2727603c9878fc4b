//! `#[derive(Module)]`: visits to the fields of a struct.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, Error, Field, Fields, Index, LitStr, Result, Type};

struct Options {
    skip: bool,
    name: Option<String>,
}

fn options(field: &Field) -> Result<Options> {
    let mut found = Options { skip: false, name: None };
    for attr in field.attrs.iter().filter(|a| a.path().is_ident("module")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                found.skip = true;
                return Ok(());
            }
            if meta.path.is_ident("name") {
                found.name = Some(meta.value()?.parse::<LitStr>()?.value());
                return Ok(());
            }
            Err(meta.error("only `skip` and `name = \"...\"` are known"))
        })?;
    }
    Ok(found)
}

/// Whether one of `names` is in the tokens of `ty`.
fn mentions(ty: &Type, names: &[String]) -> bool {
    fn within(tokens: TokenStream, names: &[String]) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => names.iter().any(|n| ident == n),
            TokenTree::Group(group) => within(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    within(ty.to_token_stream(), names)
}

/// The implementation of `lampyr::nn::Module`.
pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let name = &input.ident;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(name, "Module is for structs"));
    };
    let fields = match &data.fields {
        Fields::Named(fields) => fields.named.iter().collect(),
        Fields::Unnamed(fields) => fields.unnamed.iter().collect(),
        Fields::Unit => Vec::new(),
    };
    let types: Vec<String> = input.generics.type_params().map(|p| p.ident.to_string()).collect();
    let mut generics = input.generics.clone();
    let (mut shared, mut changing) = (Vec::new(), Vec::new());
    for (i, field) in fields.into_iter().enumerate() {
        let found = options(field)?;
        if found.skip {
            continue;
        }
        let member = match &field.ident {
            Some(ident) => ident.to_token_stream(),
            None => Index::from(i).to_token_stream(),
        };
        let text = found.name.unwrap_or_else(|| member.to_string().trim_start_matches("r#").to_string());
        let ty = &field.ty;
        if mentions(ty, &types) {
            generics.make_where_clause().predicates.push(syn::parse_quote!(#ty: ::lampyr::nn::Module));
        }
        shared.push(quote!(path.enter(#text, |path| ::lampyr::nn::Module::visit(&self.#member, path, visitor));));
        changing
            .push(quote!(path.enter(#text, |path| ::lampyr::nn::Module::visit_mut(&mut self.#member, path, visitor));));
    }
    let (params, types, bounds) = generics.split_for_impl();
    Ok(quote! {
        impl #params ::lampyr::nn::Module for #name #types #bounds {
            #[allow(unused_variables)]
            fn visit(
                &self,
                path: &mut ::lampyr::nn::Path,
                visitor: &mut dyn ::std::ops::FnMut(&str, ::lampyr::nn::Part<'_>),
            ) {
                #(#shared)*
            }

            #[allow(unused_variables)]
            fn visit_mut(
                &mut self,
                path: &mut ::lampyr::nn::Path,
                visitor: &mut dyn ::std::ops::FnMut(&str, ::lampyr::nn::PartMut<'_>),
            ) {
                #(#changing)*
            }
        }
    })
}
