package term

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Align is a column's side.
type Align int

const (
	Left  Align = iota
	Right       // for numbers
)

const columnGap = "  "

// Table writes rows below a header in columns of plain text, two spaces apart,
// as wide as their widest cell in runes. Columns without an align are Left; a
// nil header is left out; a row may be shorter than the others, or longer.
func Table(w io.Writer, header []string, rows [][]string, align ...Align) error {
	all := make([][]string, 0, len(rows)+1)
	if header != nil {
		all = append(all, visibleCells(header))
	}
	for _, row := range rows {
		all = append(all, visibleCells(row))
	}
	var widths []int
	for _, row := range all {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	var line strings.Builder
	for _, row := range all {
		line.Reset()
		for i, cell := range row {
			if i > 0 {
				line.WriteString(columnGap)
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i < len(align) && align[i] == Right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func visibleCells(cells []string) []string {
	shown := make([]string, len(cells))
	for i, cell := range cells {
		shown[i] = Visible(cell)
	}
	return shown
}
