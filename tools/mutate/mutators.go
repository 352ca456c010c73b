package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// mutant is one small fault: a piece of a file's text replaced by another.
type mutant struct {
	ID   string `json:"id"`
	File string `json:"file"` // from the module's root, with slashes
	Func string `json:"func"` // the function, type or constant that it stands in
	Line int    `json:"line"`
	Kind string `json:"kind"`
	Old  string `json:"old"`
	New  string `json:"new"`
	Text string `json:"text"` // the line that it begins in

	start, end int           // bytes of the file
	decl       *ast.FuncDecl // the function; nil: it stands in none
}

// apply returns the file with the fault.
func (m mutant) apply(src []byte) []byte {
	return slices.Concat(src[:m.start], []byte(m.New), src[m.end:])
}

// finder collects the mutants of one file.
type finder struct {
	file  string
	src   []byte
	set   *token.FileSet
	scope string
	decl  *ast.FuncDecl
	found []mutant

	forced map[ast.Expr]bool // conditions: another fault of theirs has the same effect as the wrong equality
}

// mutantsOf returns the mutants of a file, in order of line. Their ids are made of
// content alone, so that they outlive moves: the text of the line, the change, and the
// count of its likes in the same function.
func mutantsOf(file string, src []byte) ([]mutant, error) {
	f := &finder{file: file, src: src, set: token.NewFileSet(), forced: make(map[ast.Expr]bool)}
	tree, err := parser.ParseFile(f.set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			f.scope, f.decl = d.Name.Name, d
			f.walk(d)
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.ValueSpec); ok {
					f.scope, f.decl = s.Names[0].Name, nil
					f.walk(s)
				}
			}
		}
	}
	slices.SortStableFunc(f.found, func(a, b mutant) int { return a.start - b.start })
	lines, count := strings.Split(string(src), "\n"), make(map[string]int)
	for i := range f.found {
		m := &f.found[i]
		m.Text = strings.TrimSpace(lines[m.Line-1])
		content := strings.Join([]string{m.File, m.Func, m.Text, m.Kind, m.Old, m.New}, "\x00")
		count[content]++
		m.ID = fmt.Sprintf("%.4x", sha256.Sum256([]byte(content+strconv.Itoa(count[content]))))
	}
	return f.found, nil
}

func (f *finder) walk(root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt:
			f.condition(n.Cond)
		case *ast.ForStmt:
			if n.Cond != nil {
				f.force(n.Cond, "false") // forced to true it would not end
			}
		case *ast.SwitchStmt:
			for _, c := range n.Body.List {
				f.caseOf(c.(*ast.CaseClause), n.Tag == nil)
			}
		case *ast.TypeSwitchStmt:
			for _, c := range n.Body.List {
				f.caseOf(c.(*ast.CaseClause), false)
			}
		case *ast.BlockStmt:
			f.statements(n.List)
		case *ast.CaseClause:
			f.statements(n.Body)
		case *ast.CommClause:
			f.statements(n.Body)
		case *ast.BinaryExpr:
			return f.binary(n)
		case *ast.SelectorExpr:
			if isUnit(n) {
				f.scale(n)
			}
		case *ast.CallExpr:
			f.call(n)
		case *ast.CompositeLit:
			for _, e := range n.Elts {
				switch e := e.(type) {
				case *ast.KeyValueExpr:
					if _, field := e.Key.(*ast.Ident); field {
						f.drop(e)
					}
				case *ast.Ident, *ast.SelectorExpr:
					f.drop(e)
				}
			}
		case *ast.Ident:
			if other := map[string]string{"true": "false", "false": "true"}[n.Name]; other != "" {
				f.replace("literal", n, other)
			}
		case *ast.BasicLit:
			f.literal(n)
		}
		return true
	})
}

// condition forces a condition both ways. Where it has operands one way is enough: a
// test that tells that one of them is dropped tells the other, too.
func (f *finder) condition(e ast.Expr) {
	b, _ := e.(*ast.BinaryExpr)
	if b == nil || b.Op != token.LOR {
		f.force(e, "false")
	}
	if b == nil || b.Op != token.LAND {
		f.force(e, "true")
	}
	if b != nil {
		f.forced[e] = true
	}
}

// force makes a condition true or false, and keeps it in the text: what it reads stays
// in use, so that the mutant compiles.
func (f *finder) force(e ast.Expr, to string) {
	op := map[string]string{"false": "&&", "true": "||"}[to]
	f.replace("condition", e, fmt.Sprintf("(%s %s (%s))", to, op, f.text(e)))
}

func (f *finder) caseOf(c *ast.CaseClause, conditions bool) {
	for _, e := range c.List {
		if conditions {
			f.condition(e)
		}
	}
	for _, e := range c.List {
		if len(c.List) > 1 {
			f.drop(e)
		}
	}
	if !conditions {
		f.replace("case", c, "")
	}
}

// statements removes one statement at a time; what does not compile without it is no
// mutant.
func (f *finder) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt, *ast.ReturnStmt, *ast.BranchStmt:
			f.replace("statement", s, "")
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				f.replace("statement", s, "")
			}
		}
	}
}

var swaps = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.EQL: "!=", token.NEQ: "==",
	token.ADD: "-", token.SUB: "+", token.MUL: "/", token.QUO: "*",
}

// binary drops an operand or swaps the operator. It reports whether to look inside.
func (f *finder) binary(n *ast.BinaryExpr) bool {
	switch n.Op {
	case token.LAND, token.LOR:
		keep := map[token.Token]string{token.LAND: "(true || (%s))", token.LOR: "(false && (%s))"}[n.Op]
		for _, e := range []ast.Expr{n.X, n.Y} {
			if b, ok := e.(*ast.BinaryExpr); ok && b.Op == n.Op {
				continue // its own operands are dropped one by one
			}
			f.replace("operand", e, fmt.Sprintf(keep, f.text(e)))
			f.forced[e] = true
		}
	case token.MUL:
		if isUnit(n.X) || isUnit(n.Y) {
			f.scale(n)
			return false
		}
	}
	if to := swaps[n.Op]; to != "" && !(f.forced[n] && (n.Op == token.EQL || n.Op == token.NEQ)) {
		f.replace("operator", n, f.text(n.X)+" "+to+" "+f.text(n.Y))
	}
	return true
}

func isUnit(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == "time" && slices.Contains([]string{"Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}, s.Sel.Name)
}

// scale takes a duration away, and doubles it.
func (f *finder) scale(e ast.Expr) {
	f.replace("duration", e, "(0*("+f.text(e)+"))")
	f.replace("duration", e, "(2*("+f.text(e)+"))")
}

// call drops one argument of min and max, or adds none to what is appended.
func (f *finder) call(n *ast.CallExpr) {
	name, ok := n.Fun.(*ast.Ident)
	if !ok {
		return
	}
	switch name.Name {
	case "min", "max":
		for _, a := range n.Args {
			f.drop(a)
		}
	case "append":
		if len(n.Args) == 2 {
			f.drop(n.Args[1])
		}
	}
}

func (f *finder) literal(n *ast.BasicLit) {
	switch n.Kind {
	case token.INT:
		if v, err := strconv.Atoi(n.Value); err == nil {
			f.replace("literal", n, strconv.Itoa(v+1))
			if v > 0 && f.decl == nil {
				f.replace("literal", n, strconv.Itoa(v-1))
			}
		}
	case token.FLOAT:
		f.replace("literal", n, "(2*"+n.Value+")")
		f.replace("literal", n, "(0.5*"+n.Value+")")
	case token.STRING:
		if strings.HasPrefix(n.Value, "`") && keywords.MatchString(n.Value) {
			at := f.offset(n.Pos())
			for _, c := range sqlChanges(n.Value) {
				f.add("sql", at+c.start, at+c.end, c.to)
			}
		}
	}
}

// drop removes an element of a list with the comma behind it.
func (f *finder) drop(n ast.Node) {
	start, end := f.offset(n.Pos()), f.offset(n.End())
	if comma := regexp.MustCompile(`^\s*,[ \t]*`).FindIndex(f.src[end:]); comma != nil {
		end += comma[1]
	} else if comma := regexp.MustCompile(`,\s*$`).FindIndex(f.src[:start]); comma != nil {
		start = comma[0]
	}
	f.add("element", start, end, "")
}

func (f *finder) replace(kind string, n ast.Node, to string) {
	f.add(kind, f.offset(n.Pos()), f.offset(n.End()), to)
}

func (f *finder) add(kind string, start, end int, to string) {
	f.found = append(f.found, mutant{
		File: f.file, Func: f.scope, Line: bytes.Count(f.src[:start], []byte("\n")) + 1, Kind: kind, Old: string(f.src[start:end]), New: to,
		start: start, end: end, decl: f.decl,
	})
}

func (f *finder) offset(p token.Pos) int { return f.set.Position(p).Offset }
func (f *finder) text(n ast.Node) string { return string(f.src[f.offset(n.Pos()):f.offset(n.End())]) }
