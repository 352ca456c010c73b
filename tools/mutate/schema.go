package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// switchFile reads which mutant a process is to have.
const switchFile = `package %s

import (
	"os"
	"strconv"
)

var activeMutant, _ = strconv.Atoi(os.Getenv("` + activeMutant + `"))
`

const activeMutant = "IMAGEPURGE_MUTANT"

// woven returns the sources of a package with all of these mutants in them: a copy of
// its function for each, and at the beginning of the function a switch that calls the
// copy of the active one. So one build serves them all. The mutants are numbered from 1.
func (s *source) woven(mutants []mutant) map[string][]byte {
	files := make(map[string][]byte)
	byFile := make(map[string]map[*ast.FuncDecl][]int)
	for i, m := range mutants {
		if byFile[m.File] == nil {
			byFile[m.File] = make(map[*ast.FuncDecl][]int)
		}
		byFile[m.File][m.decl] = append(byFile[m.File][m.decl], i)
	}
	for file, functions := range byFile {
		src := s.files[file]
		var copies bytes.Buffer
		heads := make(map[int]string) // by the offset that they stand at
		for d, of := range functions {
			head := "if activeMutant != 0 { switch activeMutant {"
			for _, i := range of {
				m := mutants[i]
				name := fmt.Sprintf("%s__%d", d.Name.Name, i+1)
				text := m.apply(src)
				start, end := int(d.Pos())-1, int(d.End())-1+len(m.New)-(m.end-m.start)
				at := int(d.Name.Pos()) - 1
				fmt.Fprintf(&copies, "\n%s%s%s\n", text[start:at], name, text[at+len(d.Name.Name):end])
				head += fmt.Sprintf(" case %d: %s;", i+1, forward(d, name))
			}
			heads[int(d.Body.Lbrace)] = head + " } };"
		}
		offsets := make([]int, 0, len(heads))
		for at := range heads {
			offsets = append(offsets, at)
		}
		slices.Sort(offsets)
		out := make([]byte, 0, 2*len(src)+copies.Len())
		last := 0
		for _, at := range offsets {
			out = append(append(out, src[last:at]...), heads[at]...)
			last = at
		}
		files[file] = append(append(out, src[last:]...), copies.Bytes()...)
	}
	files[s.dir+"/active_mutant.go"] = fmt.Appendf(nil, switchFile, s.name)
	return files
}

// forward is the statement that hands a call on to a copy of the function.
func forward(d *ast.FuncDecl, name string) string {
	var args, types []string
	for _, p := range d.Type.Params.List {
		dots := ""
		if _, ok := p.Type.(*ast.Ellipsis); ok {
			dots = "..."
		}
		for _, n := range p.Names {
			args = append(args, n.Name+dots)
		}
	}
	if d.Type.TypeParams != nil {
		for _, p := range d.Type.TypeParams.List {
			for _, n := range p.Names {
				types = append(types, n.Name)
			}
		}
		name += "[" + strings.Join(types, ", ") + "]"
	}
	if d.Recv != nil {
		name = d.Recv.List[0].Names[0].Name + "." + name
	}
	call := name + "(" + strings.Join(args, ", ") + ")"
	if d.Type.Results != nil {
		return "return " + call
	}
	return call + "; return"
}

// weaves says whether a mutant can be one of many in a build: it stands in a function
// whose receiver and parameters have names.
func (m mutant) weaves() bool {
	d := m.decl
	if d == nil || d.Recv == nil && (d.Name.Name == "init" || d.Name.Name == "main") {
		return false
	}
	fields := slices.Clone(d.Type.Params.List)
	if d.Recv != nil {
		fields = append(fields, d.Recv.List...)
	}
	for _, p := range fields {
		if len(p.Names) == 0 || slices.ContainsFunc(p.Names, func(n *ast.Ident) bool { return n.Name == "_" }) {
			return false
		}
	}
	return true
}
