package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// source is a package as the build sees it, with the types of all that it imports.
type source struct {
	path  string // import path
	name  string
	dir   string // from the module's root, with slashes
	files map[string][]byte
	types types.Importer
	set   *token.FileSet
	trees map[string]*ast.File
	spans map[string]bool // literals that are durations, as FILE:OFFSET
}

func load(root, pkg string) (*source, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Export", "./"+pkg)
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pkg, err)
	}
	s := &source{dir: pkg, files: make(map[string][]byte), set: token.NewFileSet(), trees: make(map[string]*ast.File), spans: make(map[string]bool)}
	exports := make(map[string]string)
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name, Dir, Export string
			GoFiles                       []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[p.ImportPath] = p.Export
		if p.Dir != filepath.Join(root, filepath.FromSlash(pkg)) {
			continue
		}
		s.path, s.name = p.ImportPath, p.Name
		for _, name := range p.GoFiles {
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			file := pkg + "/" + name
			if s.trees[file], err = parser.ParseFile(s.set, file, src, parser.SkipObjectResolution); err != nil {
				return nil, err
			}
			s.files[file] = src
		}
	}
	s.types = importer.ForCompiler(s.set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	info := types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	files := slices.Collect(maps.Values(s.trees))
	if _, err := (&types.Config{Importer: s.types}).Check(s.path, s.set, files, &info); err != nil {
		return nil, err
	}
	factors := make(map[ast.Expr]bool)
	for e := range info.Types {
		if b, ok := e.(*ast.BinaryExpr); ok && (b.Op == token.MUL || b.Op == token.QUO) {
			factors[b.X], factors[b.Y] = true, true
		}
	}
	for e, t := range info.Types {
		if _, literal := e.(*ast.BasicLit); !literal || factors[e] {
			continue
		}
		if at := s.set.Position(e.Pos()); t.Type.String() == "time.Duration" {
			s.spans[fmt.Sprintf("%s:%d", at.Filename, at.Offset)] = true
		}
	}
	return s, nil
}

// instant says whether a mutant changes a duration by a nanosecond: no clock tells.
func (s *source) instant(m mutant) bool {
	_, err := strconv.Atoi(m.Old)
	return m.Kind == "literal" && err == nil && s.spans[fmt.Sprintf("%s:%d", m.File, m.start)]
}

// compiles says whether the package does with a mutant in it.
func (s *source) compiles(m mutant) bool {
	tree, err := parser.ParseFile(s.set, m.File, m.apply(s.files[m.File]), parser.SkipObjectResolution)
	if err != nil {
		return false
	}
	files := []*ast.File{tree}
	for name, f := range s.trees {
		if name != m.File {
			files = append(files, f)
		}
	}
	_, err = (&types.Config{Importer: s.types}).Check(s.path, s.set, files, nil)
	return err == nil
}
