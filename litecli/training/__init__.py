"""A training run: its stages, states, processes and memory.

training.py            a whole run, as events
loop.py                its steps, validations and states
stages.py              what a training stage is
supervised.py          the stage before the episodes
supervised_batches.py  the pictures that it learns from
image_pool.py          all training images, and how often each comes
teacher.py             what teacher networks make of the pictures
unlabelled.py          pictures of any training image
nuisance.py            the stage that starts a projection
episodic.py            the stage of LITE episodes
imitation.py           tasks for it that teachers answer, without labels
validation.py          accuracy while a model trains
best_model.py          the best weights as a model
run_folder.py          what a run leaves behind
curves.py              loss and accuracy, drawn
run_setup.py           what a run starts from
events.py              what a training run reports
planning.py            what a run would cost
rehearsal.py           a step rehearsed to fit memory
meter.py               what memory a run takes, now and at the peak
memory_fit.py          the largest passes that fit `--memory`
task_size.py           the largest task, counted
task_cost.py           its passes, arithmetic and memory
ranks.py               many processes, one run
torchrun.py            how they come together
"""
