"""Small errors, planted one at a time: does a test fail?

    python benchmarks/planted_errors.py [--only NAME ...] [--tree FOLDER] [--save FILE] [--first FILE]

For each error the tree is copied to a temporary folder, the error is made there, and pytest runs the tests
that should fail, then all others. A test that fails must pass without the error. With --tree the same
errors are made in another version, whose tests may lie in other folders. --save stores which test failed,
and --first runs those tests first. A test that needs the history of git fails in a copy, and is left out.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = (".git", ".venv", "runs", "__pycache__", ".*_cache", "*.egg-info", "build", "dist")
SECONDS = 1500  # of one call of pytest


class Planted(NamedTuple):
    """An error: `old` occurs once in `file`; `tests` are names of test files, or FILE::TEST."""

    name: str
    file: str
    old: str
    new: str
    tests: str


ERRORS = [
    # ---------------------------------------------------------------- searches
    Planted("a difference without the error over seeds", "searching/ranking.py",
        "np.hypot(_over_seeds(array), stderr_of_mean(array.mean(0)))", "stderr_of_mean(array.mean(0))",
        "test_ranking.py::test_the_error_covers_the_known_difference"),
    Planted("rows are not paired where seeds are not", "searching/ranking.py",
        "over_rows = stderr_of_mean(one.mean(0) - other.mean(0))",
        "over_rows = np.hypot(stderr_of_mean(one.mean(0)), stderr_of_mean(other.mean(0)))",
        "test_ranking.py::test_the_error_covers_the_known_difference"),
    Planted("a trial is scored by log p(x, y)", "searching/trial.py", ".unlabelled()", "",
        "test_trial.py::test_labels_do_not_make_the_bound_that_of_x_and_y"),
    Planted("finalists have the seeds of trials", "searching/finalists.py", "seed + APART + s", "seed + s",
        "test_studies.py::test_finalists_have_other_seeds_and_the_test_set_is_used_once"),
    Planted("the winner is scored on the validation set", "searching/finalists.py",
        'Score("test", self.score.method)', 'Score("validation", self.score.method)',
        "test_studies.py::test_finalists_have_other_seeds_and_the_test_set_is_used_once"),
    Planted("a trial that ends is pruned", "searching/trial.py",
        "self.is_stopped = run.epoch < run.epochs", "self.is_stopped = True",
        "test_studies.py::test_a_trial_that_ends_is_not_pruned"),
    Planted("half a line stays in the journal", "searching/trials.py", "file.truncate(len(whole))", "pass",
        "test_studies.py::test_what_a_killed_process_leaves_in_the_journal"),
    Planted("an option of a part that was not chosen", "searching/parts.py",
        "return len(path) == 1 or takes(getattr(part, path[0]), path[1:])", "return False",
        "test_space.py::test_an_option_exists_where_its_part_is_chosen"),
    Planted("callbacks share the random numbers of the run", "training/calling.py",
        "with torch.random.fork_rng(devices=cuda), in_mode(", "with in_mode(",
        "test_callbacks.py::test_a_callback_changes_no_other_number"),
    Planted("the average is that of zeros too", "callbacks/averaging.py",
        "(1 - self.decay) / (1 - self.decay**self.count)", "(1 - self.decay)",
        "test_averaging.py::test_the_average_is_its_formula_and_is_what_is_validated_and_kept"),
    Planted("training goes on from the average", "training/calling.py", "_put(trained, before)", "pass",
        "test_averaging.py::test_the_average_is_its_formula_and_is_what_is_validated_and_kept"),
    Planted("a resumed average starts again", "callbacks/averaging.py",
        'state["count"], dict(state["average"])', '0, dict(state["average"])',
        "test_averaging.py::test_a_stopped_run_resumes_to_the_same_average"),
    Planted("events of a killed run stay", "callbacks/tensorboard.py", ", purge_step=self._logged + 1", "",
        "test_trackers.py::test_a_run_that_was_killed_goes_on_in_tensorboard_without_doubled_steps"),
    Planted("an error of a callback loses the steps before it", "training/loop.py",
        "now = now or self.callbacks.failure is not None", "pass",
        "test_callbacks.py::test_an_error_of_a_callback_says_whose_it_is_and_loses_no_work"),
    Planted("trials with all seeds have the same first weights", "searching/trial.py",
        'torch.manual_seed(whole("seed", seed, 0))', "torch.manual_seed(0)",
        "test_trial.py::test_a_trial_is_the_run_that_fit_makes"),
    Planted("a process without a parent is not interrupted", "searching/worker.py",
        "signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)", "pass",
        "test_workers.py::test_when_the_parent_is_stopped_or_killed_a_fit_writes_its_checkpoint"),
    Planted("the band is the deviation of all seeds' sum", "plots/sweeps.py",
        "square / np.maximum(counts - 1, 1)", "square",
        "test_sweeps.py::test_the_curve_is_the_mean_and_the_band_one_standard_deviation"),
    # ---------------------------------------------------------------- compiled steps
    Planted("compared steps count in the optimiser", "training/compiled.py",
        "self._count(self.job.state.position.step + 1)", "pass",
        "test_background.py::test_compiled_steps_that_are_slower_are_not_used"),
    Planted("a repeated pixel has three neighbours instead of four", "networks/images.py",
        "(left, 1 - left, up, 1 - up)", "(left, 1 - left, 1, 0)",
        "test_images.py::test_enlarged_maps_and_their_gradients_are_those_of_two_operations"),
    Planted("an upper triangle from the right is a lower one", "compiling/triangular.py",
        "(upper is left, False, unitriangular)", "(upper, False, unitriangular)",
        "test_triangular.py::test_a_traced_solution_is_that_of_torch"),
    Planted("small weights of a vector are exchanged", "training/layout.py",
        "for number in members] for members in self.members]",
        "for number in members[::-1]] for members in self.members]",
        "test_compile.py::test_a_captured_run_is_the_run"),
    Planted("an epoch is prepared as the one before", "training/ahead.py",
        "self.threads.submit(self._rows, later)", "self.threads.submit(self._rows, epoch)",
        "test_ahead.py::test_a_run_is_the_same_with_and_without"),
    # ---------------------------------------------------------------- recorded graphs
    Planted("a warm-up step counts on", "compiling/cuda.py",
        "restore()  # after each", "pass  # after each",
        "test_on_devices.py::test_an_epoch_of_a_single_batch"),
    Planted("new values in the same table are not copied", "compiling/cuda.py", " or last[1] != version", "",
        "test_recording.py::test_a_table_is_copied_once_and_again_after_a_change"),
    Planted("a parameter with other memory is left behind", "compiling/cuda.py",
        "            values[i].copy_(self.places[i])\n", "",
        "test_recording.py::test_a_parameter_with_other_memory_is_followed"),
    Planted("outputs of replays are one tensor", "compiling/cuda.py",
        "[output.detach() for output in self.outputs]", "self.outputs",
        "test_recording.py::test_an_output_of_one_graph_is_an_input_of_the_next"),
    Planted("a write through a view is not seen", "compiling/cuda.py",
        "if node.target is operator.getitem:", "if False:",
        "test_recording.py::test_what_a_graph_changes_is_found"),
    # ---------------------------------------------------------------- scores of anomalies
    Planted("typicality with one side", "tasks/kinds.py", "return np.abs(log_px - mean)",
        "return mean - log_px", "test_kinds.py::test_percentiles_of_a_gaussian_are_tail_probabilities"),
    Planted("complexity in bits, log p(x) in nats", "tasks/kinds.py", "-math.log(2) * compressed_bits(",
        "-1.0 * compressed_bits(", "test_kinds.py::test_complexity_is_the_length_of_the_png"),
    Planted("percentiles count equal training rows", "tasks/reference.py", "side=\"right\")",
        "side=\"left\")", "test_kinds.py::test_percentiles_are_shares_of_more_anomalous_training_rows"),
    Planted("error of the AUROC without that of the anomalies", "tasks/separation.py",
        " + w.var(ddof=1) / len(a)", "", "test_separation.py::test_the_error_is_that_of_the_sums_over_pairs"),
    # ---------------------------------------------------------------- bandits
    Planted("UCB with half of its bonus", "searching/values.py", "0.0, 2 * self._scale(history.reward",
        "0.0, self._scale(history.reward", "test_policies.py::test_ucb1_by_hand"),
    Planted("discounting forgets the newest reward", "searching/values.py",
        "self.discount ** np.arange(len(history) - 1.0, -1.0, -1.0)",
        "self.discount ** np.arange(float(len(history)))", "test_policies.py::test_discounted_ucb_by_hand"),
    Planted("EXP3 without importance weights", "searching/policies.py", "gamma * gain / (p[arm] * arms)",
        "gamma * gain / arms", "test_policies.py::test_exp3_by_hand"),
    Planted("an arm that failed is pulled again", "searching/history.py",
        "self.arm[~np.isfinite(self.reward)]", "self.arm[:0]",
        "test_policies.py::test_failed_arm_is_not_pulled_again"),
    Planted("predictions as if a shape were true", "searching/curves.py", "np.hypot(error, DOUBT * rest)",
        "error", "test_policies.py::test_errors_of_predictions_are_right"),
    Planted("the arms have one prior for the gain", "searching/curves.py",
        "return 0.5 * share / share.sum() + 0.5 / share.size", "return share / share.sum() + 1e-9",
        "test_policies.py::test_curves_find_the_slow_starter"),
    Planted("a shared encoder starts without moments", "searching/arms.py",
        "for name in self.names if name in moments}", "for name in ()}",
        "test_bandit.py::test_shared_encoder_is_trained_by_whoever_is_pulled"),
    Planted("a killed pull gets the old encoder back", "searching/arms.py",
        "if (position.epoch, position.batch) != (self.epochs, 0):", "if False:",
        "test_bandit.py::test_killed_in_the_middle_of_an_epoch"),
    # ---------------------------------------------------------------- evidence
    Planted("evaluation leaves training mode on", "networks/modes.py", "            module.train(training)\n",
        "            pass\n", "test_methods.py::test_dropout_is_off"),
    Planted("samples of p(z|y) without the weights", "evidence/posterior.py",
        "shares = self.log_w.double().softmax(0)", "shares = (0 * self.log_w.double()).softmax(0)",
        "test_condition.py::test_it_is_the_exact_conditional"),
    Planted("pooled pixels: every pixel is moved alike", "measurements/images.py",
        "gain = variance * x.shape[-1] / variance.sum(-1, keepdim=True)", "gain = torch.ones_like(x)",
        "test_measurements.py"),
    Planted("noise: the gain is a ratio of standard deviations", "measurements/elementwise.py",
        "gain = (scale / total).square()", "gain = scale / total",
        "test_measurements.py"),
    Planted("kinetic energy without 1/2", "evidence/hmc.py", "return 0.5 * momentum.double()",
        "return momentum.double()", "test_evidence.py::test_the_mean_is_within_its_error"),
    Planted("widened guide: Jacobian of one latent", "evidence/methods.py", "u.shape[-1] * math.log(width)",
        "math.log(width)", "test_evidence.py::test_the_mean_is_within_its_error"),
    Planted("compiled evidence draws the first piece again", "evidence/compiled.py",
        "site.drawn(pieces.keys, pieces.seed, first, self.count)",
        "site.drawn(pieces.keys, pieces.seed, 0, self.count)",
        "test_compiled_evidence.py::test_auto_times_some_pieces_and_compiles_what_pays"),
    # ---------------------------------------------------------------- terms and objectives
    Planted("mask of a site dropped", "terms/trace.py", 'scale_and_mask(log_p, mask=site["mask"])',
        "scale_and_mask(log_p)", "test_pyro.py::test_masked_elements_and_masked_rows_do_not_count"),
    Planted("dreams get the context of another row", "terms/trace.py",
        "c.repeat(count, *[1] * (c.dim() - 1))", "c.repeat_interleave(count, 0)",
        "test_gradients.py::test_a_dream_keeps_a_row_with_its_context"),
    Planted("covariances of a batch summed, not averaged", "objectives/batchwise.py",
        "_covariance(latent.q)[0].mean(0)", "_covariance(latent.q)[0].sum(0)",
        "test_objectives.py::test_the_covariance_of_the_aggregated_posterior"),
    Planted("guide's gradient through the bound of the decoder", "objectives/importance.py",
        "joint - terms.log_qz.detach()", "joint - terms.log_qz",
        "test_gradients.py::test_the_gradient_is_that_of_the_expectation"),
    Planted("weights that underflow", "numerics.py",
        "log_w.masked_fill(log_w < largest + math.log(NEGLIGIBLE), -math.inf)", "log_w",
        "test_small_weights.py::test_no_denormal_number_enters_a_product_of_a_step"),
    Planted("weights that count are left out", "numerics.py", "NEGLIGIBLE = 1e-30", "NEGLIGIBLE = 1e-3",
        "test_numerics.py::test_value_and_gradient_are_those_of_all_weights_in_double_precision"),
    Planted("groups of stratified samples", "objectives/importance.py", "    stratified = False\n", "",
        "test_strata.py::test_a_group_is_what_its_definition_says_with_a_guide_of_several_components"),
    # ---------------------------------------------------------------- likelihoods at their borders
    Planted("continuous Bernoulli: distance from the wrong end", "distributions/continuous_bernoulli.py",
        "torch.where(self.logits > 0, 1 - value, value)", "value",
        "test_continuous_bernoulli.py::test_density_and_gradients_at_every_logit"),
    Planted("shares of a multinomial in single precision", "distributions/multinomial.py",
        "self._log_shares(self.logits.double())", "self._log_shares(self.logits).double()",
        "test_borders.py::test_density_and_gradient_at_the_borders"),
    Planted("grid of grey levels in single precision", "distributions/levels.py",
        "(exact - value).to(self.loc.dtype)", "(0 * exact).to(self.loc.dtype)",
        "test_borders.py::test_what_the_table_found"),
    Planted("Student prior with torch's constant", "priors/simple.py", "distributions.StudentT(self.df",
        "dist.StudentT(self.df", "test_borders.py::test_density_and_gradient_at_the_borders"),
    # ---------------------------------------------------------------- priors and guides
    Planted("top of a hierarchy without its context", "priors/layers.py", "top = self.highest(context)",
        "top = self.highest()", "test_priors.py::test_the_top_of_a_hierarchy_follows_the_context_too"),
    Planted("components start without the labels", "priors/mixture.py",
        "encodings(), self.components, labels))", "encodings(), self.components))",
        "test_labels.py::test_components_that_start_from_data_bear_the_names_of_the_labels"),
    Planted("guide forgets a known label", "guides/mixture.py", "DiagonalMixture(restricted(logits, known)",
        "DiagonalMixture(restricted(logits, None)",
        "test_labels.py::test_an_encoding_given_labels_is_what_the_guide_draws_given_them"),
    # ---------------------------------------------------------------- likelihoods and distributions
    Planted("missing entries count in the mean", "likelihoods/units.py",
        "mean = torch.where(present, x, 0.0).div(count).sum(0)",
        "mean = torch.where(present, x, 0.0).div(len(x)).sum(0)",
        "test_tables.py::test_the_encoder_reads_standardised_numbers_one_hot_classes_and_what_is_missing"),
    Planted("unit of a count divides", "likelihoods/column_kinds.py", "p.scaled(spread)",
        "p.scaled(1 / spread)",
        "test_tables.py::test_columns_have_their_own_distributions_in_their_own_units"),
    Planted("weights of strata without log C", "distributions/diagonal_mixture.py",
        ".squeeze(-1) + math.log(self.strata)", ".squeeze(-1)",
        "test_strata.py::test_a_mixture_guide_has_the_gradient_of_its_expectation"),
    Planted("dry runs count as batches of the optimal scale", "distributions/adapted.py",
        "if not (self.learning and torch.is_grad_enabled()):", "if not self.learning:",
        "test_likelihoods.py::test_a_run_without_gradients_is_no_batch_of_the_optimal_scale"),
    # ---------------------------------------------------------------- data sets, training and compiled code
    Planted("given pixels count in log p(x | c)", "datasets/contexts.py",
        "x=torch.where(mask, torch.nan, rows.x)", "x=rows.x",
        "test_contexts.py::test_log_p_counts_only_what_is_left"),
    Planted("the same jitter in every epoch", "datasets/data.py", 'generator_of("jitter", seed, number)',
        'generator_of("jitter", seed)', "test_jitter.py::test_an_epoch_is_a_function_of_its_seed_and_number"),
    Planted("last validation row is trained on", "datasets/split.py", "Parts(order[validations:],",
        "Parts(order[validations - 1 :],", "test_datasets.py::test_parts_are_disjoint_and_complete"),
    Planted("resumed stream draws other noise", "training/blocks.py", "(self.seed, epoch, batch, *extra)",
        "(self.seed, epoch, batch - batches[0], *extra)",
        "test_streamed_runs.py::test_a_run_that_crashed_ends_like_one_that_never_did"),
    Planted("some rows of a window are those of the one before", "datasets/shuffling.py",
        "torch.cat(rows)[first - before : last - before]", "torch.cat(rows)[: last - first]",
        "test_streams.py::test_windows_hold_every_row_once_and_read_few_chunks"),
    Planted("steps use a block while the next one is written into it", "training/blocks.py",
        "self.buffers.reverse()", "self.buffers[1:] = [{}]",
        "test_streamed_runs.py::test_a_block_in_use_is_not_written_into"),
    Planted("columns of a table on disk in the order of the file", "datasets/readers/table_files.py",
        "_plain(column, table.column(column.name))", "_plain(column, table.column(columns.index(column)))",
        "test_streams.py::test_a_stored_schema_reads_a_table_on_disk"),
    Planted("best weights are not restored", "training/saver.py", "        self.best = saved.best\n", "",
        "test_resume.py::test_a_crashed_run_ends_like_one_that_never_was"),
    Planted("the bound chooses whatever is trained", "training/loop.py",
        'value = row.get("objective", row["validation"])', 'value = row["validation"]',
        "test_keep.py::test_without_a_divergence_the_kept_weights_reconstruct"),
    Planted("an objective of the batch is measured on all rows", "training/loop.py",
        "if not objective.of_batch:", "if True:",
        "test_keep.py::test_an_objective_of_the_batch_is_measured_in_batches_of_the_run"),
    Planted("an autoencoder scores x with noise in it", "objectives/autoencoder.py",
        "with _noisy(program, noise):", "with _noisy(program, 0 * noise):",
        "test_autoencoder.py::test_the_encoder_reads_noise_and_the_model_does_not"),
    Planted("a prior is fitted to codes with dropout", "tasks/prior_fit.py",
        "in_mode(new, training=False), _only", "in_mode(new, training=True), _only",
        "test_prior_fit.py::test_the_codes_are_those_of_the_vae_in_use"),
    Planted("a fitted VampPrior leaves gradients in the encoder", "tasks/prior_fit.py",
        "            p.requires_grad_(False)\n", "            pass\n",
        "test_prior_fit.py::test_every_prior_is_fitted_and_nothing_else_changes"),
    Planted("load moves the random state", "training/loading.py",
        "with alone, torch.random.fork_rng(devices=[]):  # initial weights are random",
        "with torch.no_grad():",
        "test_fit.py::test_the_callers_random_state_store_threads_and_gradient_mode_are_untouched"),
    Planted("optimiser forgets the compiled steps", "training/compiled.py",
        "count.fill_(steps)", "count.add_(1)",
        "test_compile.py::test_optimisers_and_schedules"),
    Planted("small last batch of several processes", "training/exchange.py",
        "gradients(job, rows, weights, epoch.count(number))",
        "gradients(job, rows, weights, epoch.batch_size)",
        "test_many.py::test_two_processes_have_the_gradient_of_one"),
    Planted("code in use is deleted first", "compiling/storage.py", "key=_age)[STORED:]:",
        "key=_age, reverse=True)[STORED:]:", "test_storage.py::test_the_oldest_code_goes"),
    Planted("damaged code is loaded", "compiling/storage.py", "if not check or path.stem ==",
        "if check or path.stem ==", "test_storage.py::test_damaged_code_is_not_found_and_goes"),
    Planted("a lock follows a link", "files.py", '("O_NOFOLLOW", "O_CLOEXEC",', '("O_CLOEXEC",',
        "test_files.py::test_no_file_is_kept_open_through_a_link"),
    Planted("the page is for every site", "app/guard.py", 'headers.get("Host", "").lower() in hosts and ',
        "", "test_app.py::test_another_name_for_this_machine_gets_no_answer"),
    # ---------------------------------------------------------------- the VAE and mixtures
    Planted("parts start from rows, not from what the encoder reads", "vae/program.py",
        "inputs = self.inputs(x).nan_to_num()", "inputs = x",
        "test_priors.py::test_pseudo_inputs_are_what_the_encoder_reads_of_rows"),
    Planted("the flags of a table are filled in too", "likelihoods/mixed.py",
        "torch.cat([*parts, torch.zeros_like(missing)]", "torch.cat([*parts, missing]",
        "test_inputs.py::test_constants_of_a_table_are_read_next_to_its_flags"),
    Planted("a missing entry is counted as a zero", "networks/points.py", "(h * present.unsqueeze(-1))",
        "h", "test_inputs.py::test_a_point_encoder_reads_the_present_entries_alone"),
    Planted("missing entries are drawn as present ones", "likelihoods/mechanisms.py",
        "2 * s - 1", "1 - 2 * s",
        "test_mechanisms.py::test_missing_entries_are_drawn_given_that_they_are_missing"),
    Planted("the mechanism is left out of log p(x)", "distributions/logistic.py",
        " + logsigmoid(self.slope * value + self.offset)", "",
        "test_mechanisms.py::test_log_px_is_that_of_the_present_entries_and_of_what_is_missing"),
    Planted("units of a covariance on the wrong axis", "mixtures/unit.py",
        "source.lower * size.unsqueeze(-1)", "source.lower * size",
        "test_mixtures.py::test_em_gradients_and_the_flat_mode_end_at_the_same_top"),
    Planted("narrow covariance in single precision", "mixtures/program.py",
        "like = self.loc.new_empty(0, dtype=torch.float64)", "like = self.loc.new_empty(0)",
        "test_mixtures.py::test_a_narrow_covariance_is_put_in_single_precision_too"),
    # ---------------------------------------------------------------- factors of data
    Planted("MIG without the second latent", "factors/information.py",
        "information[-1] - information[-2]",
        "information[-1]",
        "test_metrics.py::test_each_factor_in_two_latents"),
    Planted("MIG not divided by the entropy", "factors/information.py",
        " / np.where(entropy > 0, entropy, 1.0)",
        "",
        "test_metrics.py::test_a_latent_for_each_factor_scores_one"),
    Planted("modularity divided by one factor too many", "factors/information.py",
        "(squared.shape[1] - 1)",
        "squared.shape[1]",
        "test_metrics.py::test_two_factors_mixed_in_two_latents"),
    Planted("modularity counts latents without information", "factors/information.py",
        "information > chance",
        "information > 0",
        "test_metrics.py::test_modularity_leaves_latents_without_information_out"),
    Planted("last bin of a code alone", "factors/information.py",
        "np.minimum((share * bins).astype(np.int64), bins - 1)",
        "(share * bins).astype(np.int64)",
        "test_metrics.py::test_information_is_that_of_scikit_learn_and_of_closed_forms"),
    Planted("completeness over the wrong axis", "factors/importance.py",
        "_concentration(importance.T).mean()",
        "_concentration(importance).mean()",
        "test_metrics.py::test_each_factor_in_two_latents"),
    Planted("importances of a predictor that does not predict", "factors/importance.py",
        "share >= LEAST",
        "share >= 0",
        "test_metrics.py::test_codes_without_information_score_as_chance_does"),
    Planted("SAP without the second latent", "factors/prediction.py",
        "score[:, -1] - score[:, -2]",
        "score[:, -1]",
        "test_metrics.py::test_each_factor_in_two_latents"),
    Planted("explicitness with chance at a half", "factors/prediction.py",
        "2 * float(np.mean(areas)) - 1 if",
        "float(np.mean(areas)) if",
        "test_metrics.py::test_codes_without_information_score_as_chance_does"),
    Planted("angles as numbers", "factors/targets.py",
        "np.stack([np.cos(turn), np.sin(turn)], 1)",
        "turn[:, None]",
        "test_metrics.py::test_an_angle_is_predicted_by_its_cosine_and_sine"),
    Planted("pairs that do not agree in the factor", "factors/votes.py",
        "groups.partners(first, rng)",
        "groups.some(rng, (count, self.group))",
        "test_metrics.py::test_a_latent_for_each_factor_scores_one"),
    Planted("variances of a group not compared with those of all rows", "factors/votes.py",
        "Coded(rows.scaled()[:, takes_part]",
        "Coded(rows.codes[:, takes_part]",
        "test_metrics.py::test_order_and_scale_of_latents_and_order_of_factors_do_not_matter"),
    Planted("collapsed latents vote", "factors/votes.py",
        "(rows.sd >= self.least) & (rows.sd > 0)",
        "rows.sd > 0",
        "test_metrics.py::test_a_collapsed_latent_has_no_vote"),
    Planted("IRS of the worst factor", "factors/robustness.py",
        "within.min(0)",
        "within.max(0)",
        "test_metrics.py::test_a_latent_for_each_factor_scores_one"),
    Planted("IRS without weights", "factors/robustness.py",
        "robust.sum() / whole.sum()",
        "(robust / whole).mean()",
        "test_metrics.py::test_irs_weighs_a_latent_by_how_far_it_moves"),
    Planted("IRS with means over all rows", "factors/robustness.py",
        "np.abs(codes - codes.mean(0))",
        "np.abs(codes)",
        "test_metrics.py::test_irs_of_a_sum_is_a_half"),
    Planted("errors of a part of the rows", "factors/base.py",
        "math.sqrt(self.share / (1 - self.share))",
        "1.0",
        "test_metrics.py::test_the_error_of_a_mean_is_its_standard_error"),
    Planted("rows of a replicate in both halves", "factors/base.py",
        "middle + rng.permutation(count - middle)[:second]",
        "rng.permutation(count)[:second]",
        "test_metrics.py::test_no_row_of_a_replicate_is_in_both_halves"),
    Planted("MIG of means", "factors/measuring.py",
        "Coded.of(space.sample(observed, seed)",
        "Coded.of(space.encode(observed, seed)",
        "test_disentanglement.py::test_mig_reads_samples_and_the_others_means"),
    Planted("factors of other rows", "factors/measuring.py",
        "known.take(index)",
        "known.take(sorted(index))",
        "test_disentanglement.py::test_rows_keep_their_factors"),
    Planted("factors of another part", "factors/measuring.py",
        "getattr(data.factors, split).take(",
        "data.factors.test.take(",
        "test_disentanglement.py::test_each_part_of_a_data_set_has_its_own_factors"),
    Planted("total correlation off by a logarithm", "evidence/diagnose.py",
        "(torch.cat(parts) - math.log(count)).sum(-1)", "(torch.cat(parts).sum(-1) - math.log(count))",
        "test_diagnose.py::test_total_correlation_of_far_clusters"),
    # ---------------------------------------------------------------- what is shown and written
    Planted("labels of other rows are explored", "exploring/exploring.py",
        "kept = None if y is None else y[chosen]", "kept = None if y is None else y[: len(chosen)]",
        "test_explore.py::test_rows_are_taken_from_all_of_the_part"),
    Planted("axes of the confusion table swapped", "plots/mixtures.py",
        'ax.set(xlabel="label", ylabel="component")', 'ax.set(xlabel="component", ylabel="label")',
        "test_plots_mixtures.py::test_confusion_puts_matched_labels_on_the_diagonal"),
    Planted("figures without their seed", "report.py", "        torch.manual_seed(seed)\n", "",
        "test_plots.py::test_the_pictures_of_a_run_are_a_function_of_their_seed"),
    Planted("column lost in clusters.json", "cli/commands/clusters.py", '"ari", "purity", "plain")',
        '"ari", "purity")', "test_cli.py::test_clusters_writes_what_it_prints"),
    Planted("exit status 0 after a loss that is not finite", "cli/__init__.py", "return _say(error, 1)",
        "return _say(error, 0)", "test_fit.py::test_the_command_line_ends_a_diverged_run_with_status_1"),
    Planted("temporary file left after Ctrl-C", "files.py",
        "    except BaseException:\n        temporary.unlink(missing_ok=True)\n        raise",
        "    except BaseException:\n        raise",
        "test_files.py::test_ctrl_c_in_the_middle_keeps_the_old_file"),
    Planted("deprecation not announced", "datasets/data.py",
        '        deprecated("Data.context", "the context of data.train, data.validation and data.test")\n',
        "", "test_datasets.py::test_the_context_of_all_parts_at_once_is_the_old_way_to_ask"),
    # ---------------------------------------------------------------- variables that all rows share
    Planted("the divergence of shared variables counts in every row", "objectives/base.py",
        "return pair.log_global.mean() / rows", "return pair.log_global.mean()",
        "test_global_sites.py::test_the_loss_of_a_batch_is_pyros_with_the_scale_of_its_rows"),
    Planted("copies of rows count as rows in the divergence", "training/job.py",
        "share = objective.global_share(pair, self.data.distinct,",
        "share = objective.global_share(pair, len(self.data.train),",
        "training/test_shared_variables.py::test_an_epoch_has_the_gradient_of_the_bound_of_the_whole_data"),
    Planted("the warm-up of the global divergence is ignored", "training/job.py",
        "(share if of_globals is None else of_globals * share)", "share",
        "training/test_shared_variables.py::test_a_warm_up_of_the_global_divergence_changes_its_weight_only"),
    Planted("the global divergence is not divided between processes", "training/job.py",
        "ascended.sum() / count)",
        "((ascended.sum() - len(ascended) * (share or 0.0)) / count + (share or 0.0)))",
        "training/test_shared_variables.py::test_two_processes_have_the_gradient_of_one"),
    Planted("log q(w) has the wrong sign", "terms/global_sites.py",
        "logs += [-_log_prob(site)", "logs += [_log_prob(site)",
        "test_global_sites.py::test_the_global_term_is_log_p_minus_log_q_and_no_weight_contains_it"),
    Planted("masks of global sites are ignored", "terms/global_sites.py",
        'scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])',
        'scale_and_mask(site["fn"].log_prob(site["value"]))',
        "test_global_sites.py::test_masked_entries_of_a_global_site_do_not_count"),
    Planted("particles always share global sites", "terms/trace.py",
        'call = _Call(model, guide, args, kwargs, particles, max_plate_nesting, weights != "own")',
        "call = _Call(model, guide, args, kwargs, particles, max_plate_nesting, True)",
        "test_global_sites.py::test_the_loss_of_a_batch_is_pyros_with_the_scale_of_its_rows"),
    Planted("a global site may depend on the rows", "terms/global_checks.py",
        "for some in (rows, rows[:1], rows[len(rows) - 1 :])]", "for some in (rows, rows, rows)]",
        "test_global_sites.py::test_other_sites_outside_the_plate_are_refused"),
    Planted("own weights are not checked", "terms/global_checks.py",
        "terms().log_w[k], rtol=1e-3, atol=1e-3)", "terms().log_w[k], rtol=1e9, atol=1e9)",
        "test_global_sites.py::test_own_weights_are_checked_against_each_particle_alone"),
    Planted("an auxiliary variable of a shared one is taken", "terms/global_checks.py",
        "if changed == {name} or not densities:", "if changed == {name}:",
        "test_global_sites.py::test_an_auxiliary_variable_of_a_shared_one_is_refused"),
    Planted("an auxiliary variable without use is taken", "terms/global_checks.py",
        "if changed == {name} or not densities:", "if not densities:",
        "test_global_sites.py::test_an_auxiliary_variable_of_a_shared_one_is_refused"),
    Planted("a program of one batch size is not refused", "training/preparing.py",
        "more = rows[torch.arange(len(rows) + 1, device=rows.x.device) % len(rows)]", "more = rows",
        "test_global_sites.py::test_an_autoguide_of_local_sites_is_refused"),
    Planted("a subsampled plate is not refused", "terms/sites.py",
        "frame.name != DATA and frame.full_size != frame.size", "not frame.full_size",
        "test_global_sites.py::test_other_sites_outside_the_plate_are_refused"),
    Planted("rows are simulated at other shared variables than they are scored", "terms/global_posterior.py",
        "with alone, Fixed(means):", "with alone:",
        "test_global_posteriors.py::test_simulated_rows_and_their_sandwich_belong_to_the_mean_of_w"),
    Planted("activations have standard deviations for variances", "networks/random_weights.py",
        "variance = functional.linear(h.square(), weight.scales.square(), squares)",
        "variance = functional.linear(h.square(), weight.scales, squares)",
        "test_global_variables.py::test_activations_have_the_distribution_that_weights_give_them"),
    Planted("activations without the noise of the bias", "networks/random_weights.py",
        "squares = None if bias is None else bias.scales.square()", "squares = None",
        "test_global_variables.py::test_draws_of_activations_have_the_evidence_on_average_and_no_gradient_there"),
    Planted("the divergence of activations is left out", "vae/global_variables.py",
        "-sum(v.divergence() for v in integrated)", "-0 * sum(v.divergence() for v in integrated)",
        "test_global_variables.py::test_layer_by_layer_the_divergence_is_exact"),
    Planted("the prior of weights forgets its fan-in", "networks/random_weights.py",
        "torch.tensor(scale / math.sqrt(fan_in))", "torch.tensor(scale)",
        "test_global_variables.py::test_with_the_exact_posterior_every_draw_of_the_weights_has_the_evidence"),
    Planted("completions of all draws have equal weights", "tasks/mixing.py",
        "log_p.softmax(0)[-1]", "torch.full_like(log_p[-1], 1 / len(log_p))",
        "tasks/test_shared_variables.py::test_samples_come_from_the_draws_that_agree_with_y"),
    Planted("draws of shared variables share their noise", "evidence/predictive.py",
        "seed=pieces.seed + STRIDE * number", "seed=pieces.seed",
        "test_predictive.py::test_the_predictive_density_and_its_errors_are_right"),
    Planted("noise of few samples counts as uncertainty", "vae/uncertainty.py",
        "squares / (draws - 1) - within / samples", "squares / (draws - 1)",
        "test_uncertainty.py::test_the_parts_are_those_of_the_law_of_total_variance"),
]  # fmt: skip


def main():
    options = arguments()
    chosen = [error for error in ERRORS if not options.only or error.name in options.only]
    for error in chosen:
        planted(error, options.tree)  # stops here if one no longer applies
    earlier = json.loads(options.first.read_text()) if options.first else {}
    caught: dict[str, str | None] = {}
    for error in chosen:
        start = time.monotonic()
        first = earlier.get(error.name)
        caught[error.name] = test = catching(error, options.tree, first, hinted_only=options.hinted)
        words = f"caught by {test}" if test else "NOT caught"
        print(f"{error.name:<56} {time.monotonic() - start:5.0f} s  {words}", flush=True)
        if options.save:
            options.save.write_text(json.dumps(caught, indent=1))
    print(f"{sum(map(bool, caught.values()))} of {len(caught)} errors are caught")
    return 0 if all(caught.values()) else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--hinted", action="store_true", help="do not run the other tests")
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--first", type=Path, metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.only or ()) - {error.name for error in ERRORS}:
        parser.error(f"there is no error {min(unknown)!r}")
    return options


def planted(error, tree):
    """The text of the file with the error."""
    text = (tree / "pyrovae" / error.file).read_text(encoding="utf-8")
    if text.count(error.old) != 1:
        raise SystemExit(f"{error.name!r}: its text occurs {text.count(error.old)} times in {error.file}")
    return text.replace(error.old, error.new)


def catching(error, tree, first, *, hinted_only):
    """The first test that fails with the error and passes without it, or None; `first` passes without it."""
    with tempfile.TemporaryDirectory() as folder:
        clean, wrong = copied(tree, folder, "clean"), copied(tree, folder, "wrong")
        (wrong / "pyrovae" / error.file).write_text(planted(error, tree), encoding="utf-8")
        known = [] if first is None else nodes(first, tree)
        if known and failing(wrong, known, []):
            return known[0]
        left_out = list(known)
        hinted = [node for hint in error.tests.split() for node in nodes(hint, tree)]
        for tests in (hinted, [] if hinted_only else ["pyrovae", "tests"]):
            while tests and (test := failing(wrong, tests, left_out)):
                if not failing(clean, [test], []):
                    return test
                left_out.append(test)
            left_out += hinted
    return None


def copied(tree, folder, name):
    return shutil.copytree(tree, Path(folder, name), ignore=shutil.ignore_patterns(*LEFT_OUT))


def nodes(hint, tree):
    """The tests of a hint in a tree, whichever folder they lie in; none if there is no such file."""
    file, _, test = hint.partition("::")
    if file.startswith("pyrovae/"):
        return [hint]
    found = sorted(path.relative_to(tree) for path in (tree / "tests").rglob(file))
    return [f"{path}::{test}" if test else str(path) for path in found]


def failing(copy, tests, left_out):
    """The first of some tests that fails in a copy, or None."""
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "COLUMNS": "10000"}
    workers = [] if "::" in tests[0] and len(tests) == 1 else ["-n", "2"]
    deselected = [f"--deselect={test}" for test in left_out]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-p", "no:cacheprovider", *workers]
    run = subprocess.run(
        [*command, *deselected, *tests], cwd=copy, env=environment, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?\.py(?:::.+?)?)(?: - |$)", run.stdout, re.M)
    if run.returncode in (0, 4, 5):  # all pass, or there is no such test
        return None
    return failed[1] if failed else f"{tests[0]} (exit status {run.returncode})"


if __name__ == "__main__":
    sys.exit(main())
