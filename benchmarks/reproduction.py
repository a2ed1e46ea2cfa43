"""Make the tables of docs/reproduction.md: `python benchmarks/reproduction.py > tables.md` takes under an hour."""

import argparse

from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from tqdm.auto import tqdm

from skvae.experiment import DATASETS, PREPROCESSING, make_model, run, summarize

MODELS = ("autoencoder", "beta-vae", "beta-vsc")
BASELINES = {
    "PCA(6)": PCA(6, svd_solver="arpack"),
    "PCA(10)": PCA(10, svd_solver="arpack"),
    "TruncatedSVD(10)": TruncatedSVD(10, algorithm="arpack"),
}


def markdown(rows):
    header, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([header, "|---" * len(rows[0]) + "|", *body])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=DATASETS, default="pbmc3k")
    parser.add_argument("--presets", nargs="+", choices=PREPROCESSING, default=list(PREPROCESSING))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    options = parser.parse_args()
    cells = DATASETS[options.dataset]()
    for preset in options.presets:
        X = clone(PREPROCESSING[preset]).fit_transform(cells.data)
        runs = []
        for name in tqdm([*MODELS, *BASELINES], desc=preset):
            for seed in options.seeds:
                model = make_model(name, preset) if name in MODELS else clone(BASELINES[name])
                model.set_params(random_state=seed)
                runs.append(run(name, model, X, cells.target, seed=seed, map_dimensions=(2,)))
        print(f"\n{preset}: {X.shape[0]} cells x {X.shape[1]} genes, {len(options.seeds)} seeds\n")
        print(markdown(summarize(runs, with_report=options.dataset == "pbmc3k")), flush=True)


if __name__ == "__main__":
    main()
