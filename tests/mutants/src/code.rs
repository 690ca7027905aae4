//! Where Rust code can be changed, and the code with a switch at each such place.
//!
//! A switch is put around what is there; nothing is written twice and no line moves, so that a panic, a compiler error
//! and this table speak of the same line. What stands in macros is left alone, except for the arguments of statements.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

/// Constants that say how often, or what is allowed, and not how much at a time: `--limits` leaves them alone.
const NO_AMOUNTS: [&str; 7] = ["MAX_PLANNED", "PATIENCE", "RACES", "READABLE", "REMEMBERED", "STRIKES", "TOO_MANY"];

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

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let test = match &attribute.meta {
            syn::Meta::List(list) => list.tokens.to_string() == "test",
            _ => false,
        };
        test && attribute.path().is_ident("cfg")
    })
}

impl<'a> Visit<'a> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_const(&mut self, _: &'a syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'a syn::ItemStatic) {}
    fn visit_type(&mut self, _: &'a syn::Type) {}
    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}
    fn visit_impl_item_const(&mut self, _: &'a syn::ImplItemConst) {}
    // A pattern is no place for a switch.
    fn visit_pat(&mut self, _: &'a syn::Pat) {}

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.sig.output, &item.block);
            self.visit_block(&item.block);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.sig.output, &item.block);
            self.visit_block(&item.block);
        }
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let shows = item.trait_.as_ref().is_some_and(|(_, path, _)| {
            path.segments.last().is_some_and(|last| last.ident == "Display" || last.ident == "Debug")
        });
        if !shows {
            visit::visit_item_impl(self, item);
        }
    }

    /// A statement whose value nobody takes can be left out.
    fn visit_stmt(&mut self, statement: &'a syn::Stmt) {
        let syn::Stmt::Expr(expression, Some(_)) = statement else { return visit::visit_stmt(self, statement) };
        let is_call = match expression {
            Expr::Try(tried) => !matches!(&*tried.expr, Expr::Macro(_)),
            Expr::Call(_) | Expr::MethodCall(_) | Expr::Await(_) => true,
            // A variable may have been moved from, and be there again only by this.
            Expr::Assign(assign) => !matches!(&*assign.left, Expr::Path(_)),
            Expr::Binary(binary) => is_assignment(&binary.op),
            _ => false,
        };
        if let Some(transaction) = committed(expression) {
            // What ends with it must end, or it would stay borrowed.
            let text = self.text(transaction);
            let id = self.mutant(expression.span(), format!("`{text}` is rolled back, not committed"));
            let otherwise = format!("if crate::switches::on({id}) {{ {text}.rollback().await?; }} else {{ ");
            self.before(expression.span(), otherwise);
            self.after(statement.span(), " }");
        } else if is_call && self.is_promise(expression) {
            let text = self.text(expression);
            let id = self.mutant(expression.span(), format!("`{text}` is left out"));
            self.before(expression.span(), format!("if !crate::switches::on({id}) {{ "));
            self.visit_expr(expression);
            self.after(statement.span(), " }");
        } else {
            self.visit_expr(expression);
        }
    }

    fn visit_expr_if(&mut self, expression: &'a syn::ExprIf) {
        self.condition(&expression.cond, true);
        self.visit_block(&expression.then_branch);
        if let Some((_, other)) = &expression.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_while(&mut self, expression: &'a syn::ExprWhile) {
        // Not true for ever: that is only waited for.
        self.condition(&expression.cond, false);
        self.visit_block(&expression.body);
    }

    fn visit_expr_match(&mut self, expression: &'a syn::ExprMatch) {
        self.visit_expr(&expression.expr);
        let (last, arms) = expression.arms.split_last().expect("a match that the compiler takes");
        let catches_all = last.guard.is_none() && catches_all(&last.pat);
        for arm in arms {
            match &arm.guard {
                Some((_, guard)) => self.condition(guard, true),
                None if catches_all => {
                    let text = self.text(&arm.pat);
                    let id = self.mutant(arm.span(), format!("the arm `{text}` is left out"));
                    self.after(arm.pat.span(), format!(" if !crate::switches::on({id})"));
                }
                None => {}
            }
            self.visit_expr(&arm.body);
        }
        self.visit_expr(&last.body);
    }

    fn visit_expr_binary(&mut self, binary: &'a syn::ExprBinary) {
        let (a, b) = (&*binary.left, &*binary.right);
        let text = self.text(binary);
        let span = binary.span();
        let compared = match binary.op {
            BinOp::Lt(_) => Some(("less", "<=")),
            BinOp::Le(_) => Some(("at_most", "<")),
            BinOp::Gt(_) => Some(("more", ">=")),
            BinOp::Ge(_) => Some(("at_least", ">")),
            _ => None,
        };
        if let Some((switch, other)) = compared {
            let id = self.mutant(span, format!("{other} in `{text}`"));
            return self.call(switch, id, "), &(", "&(", a, b);
        }
        match binary.op {
            BinOp::Eq(_) | BinOp::Ne(_) => {
                let id = self.mutant(span, format!("not `{text}`"));
                self.before(span, "((");
                visit::visit_expr_binary(self, binary);
                self.after(span, format!(") != crate::switches::on({id}))"));
            }
            BinOp::Add(_) if is_number(b) => {
                let id = self.mutant(span, format!("- in `{text}`"));
                self.call("add", id, ", ", "", a, b);
            }
            BinOp::Sub(_) if is_number(b) => {
                let id = self.mutant(span, format!("+ in `{text}`"));
                self.call("subtract", id, ", ", "", a, b);
            }
            BinOp::And(_) => {
                self.part(a, "true");
                self.part(b, "true");
            }
            BinOp::Or(_) => {
                self.part(a, "false");
                self.part(b, "false");
            }
            _ => visit::visit_expr_binary(self, binary),
        }
    }

    fn visit_expr_unary(&mut self, unary: &'a syn::ExprUnary) {
        if matches!(unary.op, UnOp::Not(_)) {
            let text = self.text(unary);
            let id = self.mutant(unary.span(), format!("not `{text}`"));
            self.before(unary.span(), "((");
            visit::visit_expr_unary(self, unary);
            self.after(unary.span(), format!(") != crate::switches::on({id}))"));
        } else {
            visit::visit_expr_unary(self, unary);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let switch = match call.method.to_string().as_str() {
            "min" => "least",
            "max" => "greatest",
            _ => return visit::visit_expr_method_call(self, call),
        };
        let Some(other) = call.args.first() else { return visit::visit_expr_method_call(self, call) };
        let (a, b) = (self.text(&*call.receiver), self.text(other));
        let id = self.mutant(call.span(), format!("`{a}` without `.{}({b})`", call.method));
        self.mutant(call.span(), format!("`{b}` instead of `{a}.{}({b})`", call.method));
        self.before(call.receiver.span(), format!("crate::switches::{switch}({id}, "));
        self.visit_expr(&call.receiver);
        let (from, to) = (call.receiver.span().byte_range().end, other.span().byte_range().start);
        let lines = "\n".repeat(self.source[from..to].matches('\n').count());
        self.replace(from, to, format!(", {lines}"));
        self.visit_expr(other);
    }

    fn visit_expr_lit(&mut self, literal: &'a syn::ExprLit) {
        if let syn::Lit::Bool(value) = &literal.lit {
            let id = self.mutant(literal.span(), format!("{} instead of {}", !value.value, value.value));
            self.before(literal.span(), "(");
            self.after(literal.span(), format!(" != crate::switches::on({id}))"));
        }
    }

    fn visit_expr_path(&mut self, path: &'a syn::ExprPath) {
        if let Some(name) = path.path.get_ident().map(ToString::to_string)
            && self.limits.contains(&name)
        {
            let id = self.mutant(path.span(), format!("{name} + 1"));
            let switch = if NO_AMOUNTS.contains(&name.as_str()) { "number" } else { "limit" };
            self.before(path.span(), format!("crate::switches::{switch}({id}, "));
            self.after(path.span(), ")");
        }
    }

    fn visit_macro(&mut self, it: &'a syn::Macro) {
        use syn::parse::Parser;
        use syn::punctuated::Punctuated;
        if !it.path.segments.first().is_some_and(|first| first.ident == "sqlx") {
            return;
        }
        let name = it.path.segments.last().expect("sqlx::query!").ident.to_string();
        let arguments = Punctuated::<Expr, syn::Token![,]>::parse_terminated.parse2(it.tokens.clone());
        let Ok(arguments) = arguments else { return };
        let mut arguments = arguments.iter();
        let text = arguments.find_map(|argument| match argument {
            Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text),
            _ => None,
        });
        if let Some(text) = text {
            let line = text.span().start().line;
            self.statements.push(Statement { text: text.value(), is_file: name.contains("file"), line });
        }
        for bind in arguments {
            self.visit_expr(bind);
        }
    }
}

/// The transaction of `transaction.commit().await?`.
fn committed(expression: &Expr) -> Option<&Expr> {
    let Expr::Try(tried) = expression else { return None };
    let Expr::Await(awaited) = &*tried.expr else { return None };
    match &*awaited.base {
        Expr::MethodCall(call) if call.method == "commit" => Some(&call.receiver),
        _ => None,
    }
}

/// `_`, or a new name; `None` is parsed as a name, too.
fn catches_all(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Wild(_) => true,
        syn::Pat::Ident(name) => name.ident.to_string().starts_with(char::is_lowercase),
        _ => false,
    }
}

fn is_assignment(op: &BinOp) -> bool {
    matches!(op, BinOp::AddAssign(_) | BinOp::SubAssign(_))
}

/// A number on the right: the other kinds of sums (of text, of times) are not known here.
fn is_number(operand: &Expr) -> bool {
    match operand {
        Expr::Lit(literal) => matches!(literal.lit, syn::Lit::Int(_)),
        Expr::Path(path) => {
            path.path.get_ident().is_some_and(|name| name.to_string().to_uppercase() == name.to_string())
        }
        Expr::Field(field) => matches!(field.member, syn::Member::Unnamed(_)),
        Expr::Paren(inner) => is_number(&inner.expr),
        Expr::Cast(_) => true,
        Expr::MethodCall(call) => call.method == "len",
        _ => false,
    }
}
