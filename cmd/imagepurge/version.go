package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/imagepurge/imagepurge/migrations"
)

// version is the module's version as the toolchain wrote it into the program.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version, and the schema that it needs", Example: "  imagepurge version", Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			return a.print(map[string]any{"version": version(), "schema": migrations.Latest(), "go": runtime.Version()}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "imagepurge %s, schema %d, %s\n", version(), migrations.Latest(), runtime.Version())
				return err
			})
		},
	}
}
