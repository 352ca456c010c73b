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
	"os"
	"os/exec"
	"path/filepath"
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
}

func load(root, pkg string) (*source, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Export", "./"+pkg)
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pkg, err)
	}
	s := &source{dir: pkg, files: make(map[string][]byte), set: token.NewFileSet(), trees: make(map[string]*ast.File)}
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
	return s, nil
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
