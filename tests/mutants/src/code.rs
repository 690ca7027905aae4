//! Where Rust code can be changed, and the code with a switch at each such place.
//!
//! A switch is put around what is there; nothing is written twice and no line moves, so that a panic, a compiler error
//! and this table speak of the same line. What stands in macros is left alone, except for the arguments of statements.

mod places;

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

/// One change.
pub struct Mutant {
    pub id: u32,
    pub line: usize,
    pub what: String,
}

/// The code with switches in it, what they do, and the statements that it sends.
pub struct Switched {
    pub source: String,
    pub mutants: Vec<Mutant>,
    pub statements: Vec<Statement>,
}

/// The first argument of a `query!`: SQL, or the path of a file of it.
pub struct Statement {
    pub text: String,
    pub is_file: bool,
    pub line: usize,
}

/// Puts switches into `source`, numbered from `first`. `limits` are the constants that limit something.
pub fn switched(source: &str, first: u32, limits: &BTreeSet<String>) -> syn::Result<Switched> {
    let file = syn::parse_file(source)?;
    let mut finder =
        Finder { source, limits, next: first, mutants: Vec::new(), edits: Vec::new(), statements: Vec::new() };
    finder.visit_file(&file);
    let Finder { mutants, mut edits, statements, .. } = finder;
    // Stable: at one place the outer begins first and ends last, because that is how they were found.
    edits.sort_by_key(|edit| edit.from);
    let mut changed = String::with_capacity(source.len() * 2);
    let mut at = 0;
    for edit in edits {
        changed.push_str(&source[at..edit.from]);
        changed.push_str(&edit.text);
        at = edit.to;
    }
    changed.push_str(&source[at..]);
    Ok(Switched { source: changed, mutants, statements })
}

/// The names of integer constants, which limit batches, pages, windows; and of all other constants.
pub fn constants(source: &str) -> syn::Result<[BTreeSet<String>; 2]> {
    struct Constants([BTreeSet<String>; 2]);
    impl<'a> Visit<'a> for Constants {
        fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
            let integers = ["i32", "i64", "u32", "u64", "usize"];
            let other = match &*item.ty {
                syn::Type::Path(path) => !integers.iter().any(|name| path.path.is_ident(name)),
                _ => true,
            };
            self.0[usize::from(other)].insert(item.ident.to_string());
        }
    }
    let mut constants = Constants(Default::default());
    constants.visit_file(&syn::parse_file(source)?);
    Ok(constants.0)
}

struct Edit {
    from: usize,
    to: usize,
    text: String,
}

struct Finder<'a> {
    source: &'a str,
    limits: &'a BTreeSet<String>,
    next: u32,
    mutants: Vec<Mutant>,
    edits: Vec<Edit>,
    statements: Vec<Statement>,
}

impl Finder<'_> {
    /// A number for a change that is made here.
    fn mutant(&mut self, at: Span, what: impl Into<String>) -> u32 {
        let id = self.next;
        self.next += 1;
        self.mutants.push(Mutant { id, line: at.start().line, what: what.into() });
        id
    }

    fn text(&self, of: &impl Spanned) -> String {
        let text: Vec<_> = self.source[of.span().byte_range()].split_whitespace().collect();
        let text = text.join(" ");
        match text.char_indices().nth(70) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    fn replace(&mut self, from: usize, to: usize, text: impl Into<String>) {
        self.edits.push(Edit { from, to, text: text.into() });
    }

    fn before(&mut self, span: Span, text: impl Into<String>) {
        let from = span.byte_range().start;
        self.replace(from, from, text);
    }

    fn after(&mut self, span: Span, text: impl Into<String>) {
        let to = span.byte_range().end;
        self.replace(to, to, text);
    }

    /// `a OP b` as the call of a switch. The operator's lines are kept.
    fn call(&mut self, switch: &str, id: u32, between: &str, last: &str, a: &Expr, b: &Expr) {
        self.before(a.span(), format!("crate::switches::{switch}({id}, {last}"));
        self.visit_expr(a);
        let (from, to) = (a.span().byte_range().end, b.span().byte_range().start);
        let lines = "\n".repeat(self.source[from..to].matches('\n').count());
        self.replace(from, to, format!("{between}{lines}"));
        self.visit_expr(b);
        self.after(b.span(), if last.is_empty() { ")" } else { "))" });
    }

    /// A condition that can be left out: each part of an `&&` alone, so that a rule of several parts has each part tested.
    fn condition(&mut self, condition: &Expr, can_be_true: bool) {
        match condition {
            Expr::Let(_) => self.visit_expr(condition),
            Expr::Binary(both) if matches!(both.op, BinOp::And(_)) => {
                self.part(&both.left, "true");
                self.part(&both.right, "true");
            }
            Expr::Binary(either) if matches!(either.op, BinOp::Or(_)) => {
                self.part(&either.left, "false");
                self.part(&either.right, "false");
            }
            alone => {
                let text = self.text(alone);
                if can_be_true {
                    let id = self.mutant(alone.span(), format!("`{text}` is always true"));
                    self.mutant(alone.span(), format!("`{text}` is never true"));
                    self.before(alone.span(), format!("crate::switches::condition({id}, "));
                    self.inner(alone);
                    self.after(alone.span(), ")");
                } else {
                    let id = self.mutant(alone.span(), format!("`{text}` is never true"));
                    self.before(alone.span(), format!("(!crate::switches::on({id}) && ("));
                    self.inner(alone);
                    self.after(alone.span(), "))");
                }
            }
        }
    }

    /// What stands in a condition that is switched as a whole.
    fn inner(&mut self, condition: &Expr) {
        match condition {
            Expr::Unary(not) if matches!(not.op, UnOp::Not(_)) => self.visit_expr(&not.expr),
            Expr::Binary(same) if matches!(same.op, BinOp::Eq(_) | BinOp::Ne(_)) => {
                visit::visit_expr_binary(self, same)
            }
            other => self.visit_expr(other),
        }
    }

    /// One operand of `&&` or `||`, which can be left out.
    fn part(&mut self, part: &Expr, left_out: &str) {
        match part {
            Expr::Let(_) => self.visit_expr(part),
            Expr::Binary(chain) if matches!(chain.op, BinOp::And(_)) && left_out == "true" => {
                self.part(&chain.left, left_out);
                self.part(&chain.right, left_out);
            }
            Expr::Binary(chain) if matches!(chain.op, BinOp::Or(_)) && left_out == "false" => {
                self.part(&chain.left, left_out);
                self.part(&chain.right, left_out);
            }
            _ => {
                let text = self.text(part);
                let id = self.mutant(part.span(), format!("`{text}` is taken for {left_out}"));
                let switch = if left_out == "true" { "crate::switches::on" } else { "!crate::switches::on" };
                let operator = if left_out == "true" { "||" } else { "&&" };
                self.before(part.span(), format!("({switch}({id}) {operator} ("));
                self.inner(part);
                self.after(part.span(), "))");
            }
        }
    }

    fn body(&mut self, output: &syn::ReturnType, block: &syn::Block) {
        let syn::ReturnType::Type(_, ty) = output else { return };
        let returns = self.text(&**ty).replace(' ', "");
        let inner = |name: &str| returns.split_once(&format!("{name}<")).map(|(_, inner)| inner.to_owned());
        let empty = |ty: &str| -> Vec<&'static str> {
            match ty {
                _ if ty.starts_with("bool") => vec!["true", "false"],
                _ if ty.starts_with("Option<") => vec!["None"],
                _ if ["Vec<", "BTreeSet<", "BTreeMap<", "HashMap<"].iter().any(|it| ty.starts_with(it)) => {
                    vec!["Default::default()"]
                }
                _ => Vec::new(),
            }
        };
        let is_result = returns.starts_with("Result<") || returns.starts_with("sqlx::Result<");
        let values: Vec<String> = match inner("Result").filter(|_| is_result) {
            Some(inner) => empty(&inner).into_iter().map(|value| format!("Ok({value})")).collect(),
            None => empty(&returns).into_iter().map(ToOwned::to_owned).collect(),
        };
        for value in values {
            let id = self.mutant(block.span(), format!("returns {value} at once"));
            self.after(block.brace_token.span.open(), format!(" if crate::switches::on({id}) {{ return {value}; }}"));
        }
    }

    /// Numbers and logs are no promise here: what they say is asked of them elsewhere.
    fn is_promise(&self, statement: &Expr) -> bool {
        let text = self.text(statement);
        let other = ["metrics", "counter(", "timer", "tracing", "self.count(", ".rollback("];
        !other.iter().any(|word| text.contains(word))
    }
}
