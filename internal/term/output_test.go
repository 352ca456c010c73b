package term

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func env(settings string) func(string) string {
	values := map[string]string{}
	for _, s := range strings.Fields(settings) {
		name, value, _ := strings.Cut(s, "=")
		values[name] = value
	}
	return func(name string) string { return values[name] }
}

func TestDecidesByTheEnvironment(t *testing.T) {
	tests := []struct {
		terminal         bool
		env              string
		wantBar, wantCol bool
	}{
		{true, "", true, true},
		{true, "TERM=xterm-256color", true, true},
		{true, "TERM=dumb", false, false},
		{true, "CI=true", false, false},
		{true, "CI=1", false, false},
		{true, "CI=false", true, true},
		{true, "NO_COLOR=1", true, false},
		{true, "CLICOLOR=0", true, false},
		{true, "CLICOLOR=0 CLICOLOR_FORCE=1", true, true},
		{true, "NO_COLOR=1 CLICOLOR_FORCE=1", true, false},
		{false, "", false, false},
		{false, "TERM=xterm", false, false},
		{false, "CLICOLOR_FORCE=1", false, true},
		{false, "CLICOLOR_FORCE=0", false, false},
		{false, "CI=true CLICOLOR_FORCE=1", false, true},
	}
	for _, tt := range tests {
		o := &Output{IsTerminal: tt.terminal}
		o.decide(env(tt.env))
		if o.IsTerminal != tt.wantBar || o.Color != tt.wantCol {
			t.Errorf("terminal %v, %q: IsTerminal %v, Color %v, want %v, %v", tt.terminal, tt.env, o.IsTerminal, o.Color, tt.wantBar, tt.wantCol)
		}
	}
}

func TestNewKnowsAFileFromATerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if o := New(os.Stdout, f, env("")); o.IsTerminal || o.Color || !o.hidden || o.width() != 80 {
		t.Errorf("a file: %+v", o)
	}
	if o := New(os.Stdout, &strings.Builder{}, env("")); o.IsTerminal || o.Color || o.hidden || o.width() != 80 {
		t.Errorf("a buffer: %+v", o)
	}
}

func TestPaint(t *testing.T) {
	if got := (&Output{}).Paint(Bad, "failed"); got != "failed" {
		t.Errorf("without colour: %q", got)
	}
	if got := (&Output{Color: true}).Paint(Bad, "failed"); got != "\x1b[31mfailed\x1b[0m" {
		t.Errorf("with colour: %q", got)
	}
}

func TestTable(t *testing.T) {
	tests := []struct {
		name   string
		header []string
		rows   [][]string
		align  []Align
		want   string
	}{
		{"columns", []string{"BATCH", "CUSTOMERS", "STATE"}, [][]string{{"7", "5,000", "running"}, {"12", "38", "done"}}, []Align{Left, Right}, `
BATCH  CUSTOMERS  STATE
7          5,000  running
12            38  done
`},
		{"width by runes", []string{"NAME", "N"}, [][]string{{"Zoë", "1"}, {"Zoe", "22"}, {"日本語の", "3"}}, []Align{Left, Right}, `
NAME   N
Zoë    1
Zoe   22
日本語の   3
`},
		{"no rows", []string{"BATCH", "STATE"}, nil, nil, "\nBATCH  STATE\n"},
		{"no header, rows of several lengths", nil, [][]string{{"a", "bbb"}, {"cccc"}, {"d", "", "e"}, {}}, nil, `
a     bbb
cccc
d          e

`},
		{"nothing gets to the terminal", []string{"NAME", "N"}, [][]string{{"\x1b[2J\nx", "1"}, {"a\u202eb\u009b\xff", "2"}}, nil, `
NAME                N
\x1b[2J\nx          1
a\u202eb\u009b\xff  2
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := Table(&b, tt.header, tt.rows, tt.align...); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("\n"+b.String(), tt.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, Zoë 日本 👍": "plain text, Zoë 日本 👍", "": "",
		"a\tb\r\nc": `a\tb\r\nc`, "\x1b]0;x\x07": `\x1b]0;x\x07`, "\x7f\x00": `\x7f\x00`,
		"\u0085\u009b": `\u0085\u009b`, "\u2066\u200b\u2028\ufeff": `\u2066\u200b\u2028\ufeff`,
		"\U000e0041": `\U000e0041`, "\xe2\x28": `\xe2(`, "\ufffd": "\ufffd",
	} {
		if got := Visible(text); got != want {
			t.Errorf("Visible(%q): %s, want %s", text, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	type row struct {
		Name string   `json:"name"`
		N    int64    `json:"n"`
		Tags []string `json:"tags"`
	}
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"nil slice", []row(nil), "[]\n"},
		{"empty slice", []row{}, "[]\n"},
		{"nil", nil, "null\n"},
		{"indented, HTML as it is", []row{{"<a> & b", 9007199254740993, []string{}}}, `[
  {
    "name": "<a> & b",
    "n": 9007199254740993,
    "tags": []
  }
]
`},
		{"no terminal sequences", "Zoë \x1b[2J \u009b \x7f \u202e \U000e0041 👍", `"Zoë \u001b[2J \u009b \u007f \u202e \udb40\udc41 👍"` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := JSON(&b, tt.v); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(b.String(), tt.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
	if err := JSON(&strings.Builder{}, func() {}); err == nil {
		t.Error("a function was written as JSON")
	}
}
