package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/ssebridge/ssebridge/bridge/schema"
	"github.com/ssebridge/ssebridge/cmd/ssebridge/config"
)

func newConfigCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Work with the configuration file",
		Example: "  ssebridge config check config.yaml",
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(newConfigCheckCommand())
	return cmd
}

func newConfigCheckCommand() *cobra.Command {
	var file string
	var noFiles bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a configuration file",
		Long: `Check a configuration file as serve does before it starts, and print every mistake with its place and how to mend
it. Nothing is started, and no address is used. Files that the configuration names are read, unless they are somewhere
else (--no-files).`,
		Example: `  ssebridge config check /etc/ssebridge/config.yaml
  ssebridge config check --no-files deploy/kubernetes/embedded/config.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				file = args[0]
			}
			if file == "" {
				return errors.New("no configuration file: name one, as in ssebridge config check config.yaml")
			}
			loaded, err := config.Load(file)
			switch {
			case err != nil:
			case noFiles:
				err = checkAccess(&loaded)
			default:
				err = check(&loaded, cmd.ErrOrStderr())
			}
			if err != nil {
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), err) // as it is: editors find the places in it
				return errQuiet
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", file)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file, where it is no argument")
	cmd.Flags().BoolVar(&noFiles, "no-files", false, "do not read the files that the configuration names")
	return cmd
}

// check finds what the configuration alone does not show. Warnings are written to notes.
func check(loaded *config.Config, notes io.Writer) error {
	silent := slog.New(slog.DiscardHandler)
	_, schemaErr := schema.Open(loaded.Schemas, silent)
	_, accessErr := newAccess(loaded, false, silent)
	certificates, certificateErr := openCertificates(loaded, silent)
	for _, warning := range certificates.warnings(loaded) {
		_, _ = fmt.Fprintln(notes, warning)
	}
	return errors.Join(loaded.At("schemas", schemaErr), accessErr, certificateErr)
}
