//! The places where code can be changed, each with what can be changed there.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UnOp};

use super::{Finder, Statement};

/// Constants that say how often, or what is allowed, and not how much at a time: `--limits` leaves them alone.
const NO_AMOUNTS: [&str; 9] = [
    "FAILURES_IN_A_ROW",
    "LEFT_BEHIND_AFTER",
    "MAX_PLANNED",
    "RACES",
    "READABLE",
    "REMEMBERED",
    "STRIKES",
    "TOO_MANY",
    "TOO_SLOW_IN_A_ROW",
];

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
