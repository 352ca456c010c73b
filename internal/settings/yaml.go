package settings

import (
	"bytes"
	"errors"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds far above what any settings file needs. The parser takes memory by the
// square of the depth, and what nests deeply is in long lines or in brackets.
const (
	maxFile     = 256 << 10
	maxLine     = 4 << 10
	maxBrackets = 1000
)

func tooMuch(data []byte) (line int, problem string) {
	if len(data) > maxFile {
		return 1, "the file is longer than 256 KiB"
	}
	brackets := 0
	for text := range bytes.Lines(data) {
		line++
		brackets += bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{"))
		switch {
		case len(text) > maxLine:
			return line, "the line is longer than 4 KiB"
		case brackets > maxBrackets:
			return line, "the file has more than 1000 opening brackets"
		}
	}
	return 0, ""
}

// parse turns a panic of the parser's into an error.
func parse(data []byte) (f *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("unreadable")
		}
	}()
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// syntaxProblem takes the parser's words where they are its own: its whole
// error quotes the file.
func syntaxProblem(err error) (line int, problem string) {
	line, problem = 1, "is not YAML"
	var syntax interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &syntax) {
		return line, problem
	}
	if t := syntax.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	switch m := syntax.GetMessage(); {
	case strings.Contains(m, "reserved character"), strings.Contains(m, "alias"):
		problem += ": a value that begins with *, @ or another special character stands in quotes"
	case m != "" && !strings.Contains(m, `"`) && !strings.Contains(m, "character '"):
		problem += ": " + m
	}
	return line, problem
}

var keyLike = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// keyText is the name of a pair's key, and empty for what can't be one.
func keyText(p *ast.MappingValueNode) string {
	if s, ok := p.Key.(*ast.StringNode); ok && keyLike.MatchString(s.Value) {
		return s.Value
	}
	return ""
}

func pairsOf(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// scalar is a single value as it stands in the file.
func scalar(n ast.Node) (value, problem string) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, ""
	case *ast.LiteralNode:
		if n.Value == nil {
			return "", ""
		}
		return n.Value.Value, ""
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, ""
	case *ast.NullNode:
		return "", "" // read says that there is none
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "", "is an anchor, an alias or a tag, which aren't taken; a value that begins with &, * or ! stands in quotes"
	}
	return "", "is a list or a mapping, and takes one value"
}
