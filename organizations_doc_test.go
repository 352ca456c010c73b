package imagepurge_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/imagepurge/imagepurge/internal/settings"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// The settings files in the documents are taken as they stand.
func TestSettingsFilesInDocumentsAreTaken(t *testing.T) {
	seen := 0
	for _, page := range []string{"docs/organizations.md", "docs/settings.md"} {
		for _, m := range yamlBlock.FindAllStringSubmatch(read(t, page), -1) {
			seen++
			s, err := settings.Load(settings.Source{
				File: page, Environ: []string{"BRAND_B_PASSWORD=x"},
				ReadFile: func(name string) ([]byte, error) {
					switch {
					case name == page:
						return []byte(m[1]), nil
					case strings.HasPrefix(name, "/run/secrets/"):
						return []byte("of " + name), nil
					}
					return nil, os.ErrNotExist
				},
			})
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if err := s.NeedAPI(); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if seen < 2 {
		t.Errorf("only %d settings files were found in the documents: this test has gone blind.", seen)
	}
}
