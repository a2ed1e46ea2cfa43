"""Command line of the report's experiment: `python -m skvae --help`."""

import argparse

from skvae.experiment import DATASETS, MODELS, PRESETS, format_table, run_experiment, summarize


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m skvae",
        description="Embed single cells with three autoencoders and PCA, draw them with t-SNE, cluster them with "
        "k-means, and compare the clusters with the known types.",
    )
    parser.add_argument("--dataset", choices=DATASETS, default="simulated")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--preset", choices=PRESETS, default="default", help="settings of the models")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--max-epochs", type=positive_int, help="instead of the preset's")
    parser.add_argument("--output-dir", default="skvae-results", help="default: %(default)s")
    options = parser.parse_args(arguments)
    runs = run_experiment(**vars(options))
    print(format_table(summarize(runs, with_report=options.dataset == "pbmc3k")))
    print(f"\nScores, embeddings and figures are in {options.output_dir}")


def positive_int(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}, must be >= 1")
    return value


if __name__ == "__main__":
    main()
