package repository_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// statements returns the package's SQL, by the names of its constants.
func statements(t *testing.T) map[string]string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	consts := make(map[string]ast.Expr)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for i, value := range v.Values {
					consts[v.Names[i].Name] = value
				}
			}
		}
	}
	var text func(e ast.Expr) string
	text = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
				return s
			}
		case *ast.BinaryExpr:
			return text(e.X) + text(e.Y)
		case *ast.Ident:
			return text(consts[e.Name])
		}
		return ""
	}
	sql := regexp.MustCompile(`^\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE)\s`)
	all := make(map[string]string)
	for name, e := range consts {
		if s := text(e); sql.MatchString(s) {
			all[name] = s
		}
	}
	return all
}

// A statement that the schema does not know, or that takes an id as a 32-bit
// number, cannot land.
func TestEveryStatementFitsTheSchema(t *testing.T) {
	t.Parallel()
	d := open(t)
	all := statements(t)
	if len(all) < 40 {
		t.Errorf("found only %d statements", len(all))
	}
	err := pgx.BeginFunc(d.ctx, d.pool, func(tx pgx.Tx) error {
		for _, prepare := range []string{all["stage"], "SET LOCAL plan_cache_mode = force_generic_plan"} {
			if _, err := tx.Exec(d.ctx, prepare); err != nil {
				return err
			}
		}
		for name, sql := range all {
			if name == "stage" {
				continue
			}
			err := pgx.BeginFunc(d.ctx, tx, func(tx pgx.Tx) error {
				p, err := tx.Prepare(d.ctx, name, sql)
				if err != nil {
					return err
				}
				for i, oid := range p.ParamOIDs {
					if oid == pgtype.Int4OID {
						t.Errorf("%s: $%d is a 32-bit number", name, i+1)
					}
				}
				_, err = explain(d.ctx, tx, name, sql, slices.Repeat([]string{"NULL"}, len(p.ParamOIDs)))
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
